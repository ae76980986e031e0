//! The inputs that are kept: examples of what a target reads, and inputs that once broke a promise.

use std::{fs, path::Path};

/// A target's kept inputs with their files' names, in the order of the names.
#[must_use]
pub fn of(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<_> = files
        .map(|file| {
            let file = file.unwrap();
            (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())
        })
        .collect();
    inputs.sort();
    inputs
}
