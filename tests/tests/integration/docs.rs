//! Everything that the documents name exists: files of the repository, linked pages, headings in those.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders of the repository that documents name files of.
const FOLDERS: [&str; 12] = [
    ".ci/", ".github/", "client/", "docs/", "fanout/", "infra/", "ingest/", "shared/", "tests/", "./", "../", "target/",
];

/// Paths that are made or downloaded, and not in the repository.
const MADE: [&str; 4] = ["target/", "client/dist/", "client/node_modules/", "client/demo/dist/"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The documents, by their paths in the repository.
fn documents() -> Vec<PathBuf> {
    let mut found: Vec<_> = ["README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(PathBuf::from).into();
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// The lines of a document that are not in a block of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .scan(false, |in_block, line| {
            let is_fence = line.trim_start().starts_with("```");
            *in_block ^= is_fence;
            Some((!*in_block && !is_fence).then_some(line))
        })
        .flatten()
}

/// The texts between single backticks.
fn code(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The path that a piece of code names, if it names one: `fanout/src/main.rs`, `ingest/src/shares.rs::a_test`.
fn named_path(code: &str) -> Option<&str> {
    let path = code.split("::").next()?.trim_end_matches('/');
    let is_path = !path.contains(|c: char| c.is_whitespace() || "*<>{}|$=()".contains(c));
    let starts_there = FOLDERS.iter().any(|folder| path.starts_with(folder));
    let is_made = MADE.iter().any(|made| path.starts_with(made));
    (is_path && starts_there && !is_made).then_some(path)
}

/// The targets of a line's links, images among them.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next())
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn has_anchor(text: &str, wanted: &str) -> bool {
    prose(text).filter(|line| line.starts_with('#')).any(|heading| anchor(heading) == wanted)
}

/// The fault of a link in a document, if it has one.
fn broken(document: &Path, text: &str, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, wanted) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { document.to_owned() } else { document.parent()?.join(path) };
    if !root().join(&target).exists() {
        return Some(format!("{}: link to {link}, which is not there", document.display()));
    }
    if wanted.is_empty() || target.extension().is_none_or(|extension| extension != "md") {
        return None;
    }
    let is_there = if path.is_empty() {
        has_anchor(text, wanted)
    } else {
        has_anchor(&fs::read_to_string(root().join(&target)).unwrap(), wanted)
    };
    (!is_there).then(|| format!("{}: link to {link}, which has no such heading", document.display()))
}

#[test]
fn every_path_that_a_document_names_is_there() {
    let (mut missing, mut named) = (Vec::new(), 0);
    for document in documents() {
        let text = fs::read_to_string(root().join(&document)).unwrap();
        for path in prose(&text).flat_map(code).filter_map(named_path) {
            named += 1;
            // Paths are relative to the repository, as people read them; those with `./` or `../`, to the document.
            let from = if path.starts_with('.') && !path.starts_with(".ci/") && !path.starts_with(".github/") {
                document.parent().unwrap()
            } else {
                Path::new("")
            };
            if !root().join(from).join(path).exists() {
                missing.push(format!("{}: {path}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "named, and not there:\n{}", missing.join("\n"));
    assert!(named >= 100, "only {named} paths were found: is this still reading the documents?");
}

#[test]
fn every_link_of_a_document_leads_somewhere() {
    let (mut wrong, mut followed) = (Vec::new(), 0);
    for document in documents() {
        let text = fs::read_to_string(root().join(&document)).unwrap();
        for link in prose(&text).flat_map(links) {
            followed += 1;
            wrong.extend(broken(&document, &text, link));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(followed >= 40, "only {followed} links were found: is this still reading the documents?");
}

#[test]
fn every_decision_is_in_the_list_of_decisions() {
    let list = fs::read_to_string(root().join("docs/adr/README.md")).unwrap();
    let pages = documents().into_iter().filter(|path| path.starts_with("docs/adr") && !path.ends_with("README.md"));
    let names: Vec<_> = pages.map(|page| page.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert!(names.len() >= 10, "{}", names.len());
    for name in names {
        assert!(list.contains(&format!("({name})")), "{name} is not listed");
    }
}

#[test]
fn what_is_not_there_is_found() {
    let document = Path::new("docs/permissions.md");
    assert!(broken(document, "", "no-such-page.md").is_some());
    assert!(broken(document, "", "authentication.md#no-such-heading").is_some());
    assert!(broken(document, "", "#nowhere").is_some());
    assert!(broken(document, "# Some Where, else", "#some-where-else").is_none());
    assert!(broken(document, "", "../README.md#guarantees").is_none());
    assert_eq!(named_path("fanout/src/no.rs::a_test"), Some("fanout/src/no.rs"));
    assert_eq!(named_path("target/local/stack.json"), None, "it is made");
    assert_eq!(prose("a\n```sh\nb\n```\nc").collect::<Vec<_>>(), ["a", "c"]);
}
