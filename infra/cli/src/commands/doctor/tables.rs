//! The tables: whether they exist with their keys, their indexes with all attributes that are read, time to live, and
//! deletion protection.

use aws_sdk_dynamodb::{
    Client,
    error::ProvideErrorMetadata,
    types::{
        GlobalSecondaryIndexDescription, IndexStatus, KeySchemaElement, ProjectionType, TableDescription, TableStatus,
        TimeToLiveStatus,
    },
};
use futures::future::join_all;
use serde_json::json;

use super::{
    finding::{Area, Finding},
    patient::{Patient, quoted_json, unanswered},
};

/// The attribute by which rows expire.
const EXPIRES_AT: &str = "expiresAt";

/// An index of the table of connections in the template.
struct ExpectedIndex {
    name: &'static str,
    keys: [&'static str; 2],
    /// The attributes that are read besides keys.
    projected: &'static [&'static str],
    /// The consequence when it is missing.
    without: &'static str,
}

const INDEXES: [ExpectedIndex; 2] = [
    ExpectedIndex {
        name: "roomId-index",
        keys: ["roomId", "slot"],
        projected: &["joinedAt", EXPIRES_AT],
        without: "no room has members, nothing is broadcast",
    },
    ExpectedIndex {
        name: "members-index",
        keys: ["memberOf", "userId"],
        projected: &["data", "joinedAt", "presentUntil", "listed"],
        without: "no room knows who is there",
    },
];

/// A table of the template.
struct Expected {
    id: &'static str,
    keys: [&'static str; 2],
}

const TABLES: [Expected; 4] = [
    Expected { id: "ConnectionsTable", keys: ["connectionId", "roomId"] },
    Expected { id: "MessagesTable", keys: ["roomId", "seq"] },
    Expected { id: "StateTable", keys: ["roomId", "key"] },
    Expected { id: "CongestionTable", keys: ["scope", "groupId"] },
];

/// Looks at all tables.
pub(super) async fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let client = Client::new(&patient.stack.sdk);
    join_all(TABLES.iter().map(|table| look(patient, &client, table))).await.concat()
}

async fn look(patient: &Patient<'_>, client: &Client, expected: &Expected) -> Vec<Finding> {
    let id = expected.id;
    let name = match patient.resource(id) {
        Ok(name) => name,
        Err(error) => return vec![Finding::problem(Area::Tables, id, error.to_string())],
    };
    let table = match client.describe_table().table_name(name).send().await {
        Ok(described) => described.table.unwrap_or_else(|| TableDescription::builder().build()),
        Err(error) if error.code() == Some("ResourceNotFoundException") => {
            let what = format!("the table {name} is gone, and with it what it held; the stack must be made anew");
            return vec![Finding::problem(Area::Tables, id, what).remedy(patient.anew())];
        }
        Err(error) => return vec![unanswered(Area::Tables, id, error)],
    };
    let mut findings = vec![of_table(id, name, &table, &expected.keys)];
    findings.push(of_time_to_live(patient, client, id, name).await);
    if id == "ConnectionsTable" {
        let has = table.global_secondary_indexes();
        findings.extend(INDEXES.iter().map(|expected| of_index(patient, name, has, expected)));
    }
    if let Some(what) = without_protection(id)
        && patient.parameter("DeletionProtection") == Some("true")
    {
        let subject = format!("{id} deletion protection");
        findings.push(if table.deletion_protection_enabled() == Some(true) {
            Finding::ok(Area::Tables, subject, "on")
        } else {
            let mend = format!("dynamodb update-table --table-name {name} --deletion-protection-enabled");
            Finding::warning(Area::Tables, subject, what).remedy(patient.aws(&mend))
        });
    }
    findings
}

/// The danger for a table without deletion protection that should outlive its stack.
fn without_protection(id: &str) -> Option<&'static str> {
    match id {
        "MessagesTable" => Some("off, so that one call deletes the log of every room"),
        "StateTable" => Some("off, so that one call deletes the state of every room"),
        _ => None,
    }
}

fn of_table(id: &str, name: &str, table: &TableDescription, keys: &[&str]) -> Finding {
    match table.table_status() {
        Some(TableStatus::Active) if names(table.key_schema()) == keys => Finding::ok(Area::Tables, id, "ACTIVE"),
        Some(TableStatus::Active | TableStatus::Updating) if names(table.key_schema()) != keys => {
            let found = names(table.key_schema()).join(", ");
            let what = format!("the keys of {name} are {found}, not {}: it is another table", keys.join(", "));
            Finding::problem(Area::Tables, id, what)
        }
        Some(TableStatus::Updating) => Finding::ok(Area::Tables, id, "being changed, and serving"),
        status => {
            let status = status.map_or("unknown", TableStatus::as_str);
            Finding::problem(Area::Tables, id, format!("{name} is not ACTIVE but {status}"))
        }
    }
}

fn names(schema: &[KeySchemaElement]) -> Vec<&str> {
    schema.iter().map(KeySchemaElement::attribute_name).collect()
}

async fn of_time_to_live(patient: &Patient<'_>, client: &Client, id: &str, name: &str) -> Finding {
    let subject = format!("{id} time to live");
    let described = match client.describe_time_to_live().table_name(name).send().await {
        Ok(described) => described.time_to_live_description,
        Err(error) => return unanswered(Area::Tables, subject, error),
    };
    let status = described.as_ref().and_then(|described| described.time_to_live_status());
    let attribute = described.as_ref().and_then(|described| described.attribute_name());
    match (status, attribute) {
        (Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling), Some(EXPIRES_AT)) => {
            Finding::ok(Area::Tables, subject, format!("on, by {EXPIRES_AT}"))
        }
        (Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling), other) => {
            let what = format!("by {}, not by {EXPIRES_AT}: switch it off first", other.unwrap_or("nothing"));
            let other = other.unwrap_or_default();
            Finding::problem(Area::Tables, subject, what).remedy(time_to_live(patient, name, other, false))
        }
        _ => {
            let what = "off, so that rows never expire and the table grows for ever";
            let mend = time_to_live(patient, name, EXPIRES_AT, true);
            Finding::problem(Area::Tables, subject, what).remedy(mend)
        }
    }
}

fn time_to_live(patient: &Patient<'_>, table: &str, attribute: &str, is_on: bool) -> String {
    patient.aws(&format!(
        "dynamodb update-time-to-live --table-name {table} --time-to-live-specification Enabled={is_on},AttributeName={attribute}"
    ))
}

fn of_index(
    patient: &Patient<'_>,
    table: &str,
    indexes: &[GlobalSecondaryIndexDescription],
    expected: &ExpectedIndex,
) -> Finding {
    let (name, without) = (expected.name, expected.without);
    let subject = format!("ConnectionsTable {name}");
    let Some(index) = indexes.iter().find(|index| index.index_name() == Some(name)) else {
        let what = format!("the index is missing: {without}");
        return Finding::problem(Area::Tables, subject, what).remedy(create_index(patient, table, indexes, expected));
    };
    let projection = index.projection();
    let projected = projection.map(aws_sdk_dynamodb::types::Projection::non_key_attributes).unwrap_or_default();
    let is_all = projection.and_then(|projection| projection.projection_type()) == Some(&ProjectionType::All);
    let lacks: Vec<_> =
        expected.projected.iter().filter(|wanted| !is_all && !projected.iter().any(|have| have == **wanted)).collect();
    if names(index.key_schema()) != expected.keys || !lacks.is_empty() {
        let what = format!("the index has other keys, or lacks {}: delete it, then run this again", list(&lacks));
        let update = json!([{ "Delete": { "IndexName": name } }]);
        let update = quoted_json(&update);
        let mend = format!("dynamodb update-table --table-name {table} --global-secondary-index-updates {update}");
        return Finding::problem(Area::Tables, subject, what).remedy(patient.aws(&mend));
    }
    match index.index_status() {
        // The emulator gives no status for indexes that were created with their table.
        None | Some(IndexStatus::Active | IndexStatus::Updating) => Finding::ok(Area::Tables, subject, "ACTIVE"),
        Some(status) => {
            let what = format!("the index is {status}; until it is ACTIVE, {without}");
            let wait = patient.aws(&format!(
                "dynamodb describe-table --table-name {table} --query Table.GlobalSecondaryIndexes[].IndexStatus"
            ));
            Finding::problem(Area::Tables, subject, what).remedy(wait)
        }
    }
}

fn list(names: &[&&str]) -> String {
    names.iter().map(|name| **name).collect::<Vec<_>>().join(", ")
}

fn create_index(
    patient: &Patient<'_>,
    table: &str,
    indexes: &[GlobalSecondaryIndexDescription],
    expected: &ExpectedIndex,
) -> String {
    // DynamoDB wants the keys of the table and of all its indexes to be defined, and no other attributes.
    let of_others = indexes.iter().flat_map(|index| names(index.key_schema()));
    let mut keys: Vec<_> = TABLES[0].keys.into_iter().chain(of_others).chain(expected.keys).collect();
    keys.sort_unstable();
    keys.dedup();
    let typed = |key: &str| json!({ "AttributeName": key, "AttributeType": if key == "slot" { "N" } else { "S" } });
    let attributes = json!(keys.into_iter().map(typed).collect::<Vec<_>>());
    let [hash, range] = expected.keys;
    let create = json!([{ "Create": {
        "IndexName": expected.name,
        "KeySchema": [
            { "AttributeName": hash, "KeyType": "HASH" },
            { "AttributeName": range, "KeyType": "RANGE" },
        ],
        "Projection": { "ProjectionType": "INCLUDE", "NonKeyAttributes": expected.projected },
    } }]);
    let (attributes, create) = (quoted_json(&attributes), quoted_json(&create));
    patient.aws(&format!(
        "dynamodb update-table --table-name {table} --attribute-definitions {attributes} --global-secondary-index-updates {create}"
    ))
}
