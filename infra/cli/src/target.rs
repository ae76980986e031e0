//! The choice of the stack that a command is for.

use std::path::PathBuf;

use clap::Args;

/// The stack of a command.
#[derive(Args, Debug)]
pub struct Target {
    /// The stack's name in CloudFormation.
    #[arg(long, global = true, value_name = "NAME", env = "ROOMCAST_STACK")]
    pub stack: Option<String>,
    /// The local stack's description, target/local/stack.json.
    #[arg(long, global = true, value_name = "FILE")]
    pub stack_file: Option<PathBuf>,
    /// The stack's region, if not that of the environment.
    #[arg(long, global = true)]
    pub region: Option<String>,
    /// The AWS profile whose credentials are used, if not that of the environment.
    #[arg(long, global = true)]
    pub profile: Option<String>,
}
