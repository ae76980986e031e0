//! Programs of this workspace.

use std::env;
use std::path::PathBuf;

/// A program that was built along with the running test, in the same target folder and profile.
pub fn built(name: &str) -> PathBuf {
    let test = env::current_exe().expect("the path of this program");
    // target/{profile}/deps/{test} for tests, target/{profile}/{program} for programs.
    let folder = test.parent().expect("its folder");
    let profile = if folder.ends_with("deps") { folder.parent().expect("the profile's folder") } else { folder };
    profile.join(name)
}
