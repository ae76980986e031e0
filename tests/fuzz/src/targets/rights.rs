//! Rights, of tokens and of the template for tokens without them. Three lines: the rights, a subject, a room.

use std::collections::BTreeSet;

use serde_json::Value;
use shared::{
    RoomId, Subject,
    rights::{ALL, Right, Rights, RightsTemplate},
};

use crate::promises::{assert_harmless, value};

pub(super) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.split('\n');
    let json = lines.next().unwrap_or_default();
    let subject = Subject::parse(lines.next().unwrap_or_default()).unwrap_or_else(|_| Subject::parse("alice").unwrap());
    let room = RoomId::parse(lines.next().unwrap_or_default()).unwrap_or_else(|_| RoomId::parse("chat:1").unwrap());
    // Nobody is told why rights are refused: a token's refusal names the claim, which the target `tokens` looks at.
    if let Ok(rights) = serde_json::from_str::<Rights>(json) {
        let written = serde_json::to_string(&rights).unwrap();
        assert_eq!(serde_json::from_str::<Rights>(&written).unwrap(), rights);
        check(&rights, &model(json, None), &subject, &room);
    }
    match RightsTemplate::parse(json) {
        Ok(template) => {
            let rights = template.of(&subject);
            check(&rights, &model(json, Some(&subject)), &subject, &room);
            check_named(json, &subject, &room);
        }
        // The operator, whose template it is, is told the whole pattern.
        Err(error) => assert_harmless(&error.to_string()),
    }
}

/// The rights of a subject: pairs of a pattern and a right, as plainly as possible.
type Model = BTreeSet<(String, Right)>;

/// Reads rights without the code under test; for a template, those of one subject.
fn model(json: &str, subject: Option<&Subject>) -> Model {
    let mut model = Model::new();
    let Value::Object(patterns) = value(json) else { panic!("{json}") };
    // A subject that contains a character which ends a subject in any pattern gets no rights by its name: they would be
    // for another subject's rooms.
    let ends_early = |subject: &Subject| {
        let ends: Vec<char> = patterns
            .keys()
            .flat_map(|pattern| pattern.split("{sub}").skip(1))
            .filter_map(|rest| rest.chars().next())
            .collect();
        subject.as_str().contains(ends.as_slice())
    };
    let named = |pattern: &str| match subject {
        Some(subject) if pattern.contains("{sub}") => {
            let can_be_named = RoomId::parse(subject.as_str()).is_ok() && !ends_early(subject);
            can_be_named.then(|| pattern.replace("{sub}", subject.as_str()))
        }
        _ => Some(pattern.to_owned()),
    };
    for (pattern, names) in &patterns {
        // A name that gets too long for a room matches none, so its length is not looked at.
        let Some(pattern) = named(pattern) else { continue };
        for name in names.as_array().unwrap() {
            model.insert((pattern.clone(), ALL.into_iter().find(|right| name == right.name()).unwrap()));
        }
    }
    model
}

fn check(rights: &Rights, model: &Model, subject: &Subject, room: &RoomId) {
    let own = format!("user:{}", subject.as_str());
    let names: BTreeSet<_> = model.iter().map(|(pattern, _)| pattern.trim_end_matches('*').to_owned()).collect();
    let longer = names.iter().map(|name| format!("{name}x"));
    let rooms = names.iter().cloned().chain(longer).chain([own.clone(), "user:bob".into(), room.as_str().to_owned()]);
    for room in rooms.filter_map(|room| RoomId::parse(&room).ok()) {
        for right in ALL {
            let is_given = model.iter().any(|(pattern, given)| {
                let is_named = match pattern.strip_suffix('*') {
                    Some(beginning) => room.as_str().starts_with(beginning),
                    None => room.as_str() == pattern,
                };
                is_named && *given == right
            });
            let is_private = room.as_str().starts_with("user:") && matches!(right, Right::Join | Right::History);
            let expected = room.as_str() == own || (is_given && !is_private);
            assert_eq!(rights.allow(subject, right, &room), expected, "{right:?} of {subject:?} in {room}: {rights:?}");
        }
    }
}

/// Asserts that the rooms which a template gives by the subject's name contain that name.
fn check_named(json: &str, subject: &Subject, room: &RoomId) {
    let Value::Object(mut patterns) = value(json) else { panic!("{json}") };
    patterns.retain(|pattern, _| pattern.contains("{sub}"));
    let rights = RightsTemplate::parse(&Value::Object(patterns).to_string()).unwrap().of(subject);
    if !room.as_str().contains(subject.as_str()) {
        assert!(
            ALL.into_iter().all(|right| !rights.allow(subject, right, room)),
            "{room} is not named for {subject:?}"
        );
    }
}
