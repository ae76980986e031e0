//! Tables: there, with their keys, the index with all that is read of it, time to live, deletion protection.

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

/// The index by which a room's connections are found.
const ROOM_INDEX: &str = "roomId-index";

/// What fan-out reads of a member besides keys.
const PROJECTED: [&str; 2] = ["joinedAt", EXPIRES_AT];

/// A table, as the template has it.
struct Expected {
    id: &'static str,
    keys: [&'static str; 2],
}

const TABLES: [Expected; 3] = [
    Expected { id: "ConnectionsTable", keys: ["connectionId", "roomId"] },
    Expected { id: "MessagesTable", keys: ["roomId", "seq"] },
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
            return vec![Finding::problem(Area::Tables, id, what).remedy(patient.make_anew())];
        }
        Err(error) => return vec![unanswered(Area::Tables, id, error)],
    };
    let mut findings = vec![of_table(id, name, &table, &expected.keys)];
    findings.push(of_time_to_live(patient, client, id, name).await);
    if id == "ConnectionsTable" {
        findings.push(of_index(patient, name, table.global_secondary_indexes()));
    }
    if id == "MessagesTable" && patient.parameter("DeletionProtection") == Some("true") {
        let subject = format!("{id} deletion protection");
        findings.push(if table.deletion_protection_enabled() == Some(true) {
            Finding::ok(Area::Tables, subject, "on")
        } else {
            let what = "off, so that one call deletes the log of every room";
            let mend = format!("dynamodb update-table --table-name {name} --deletion-protection-enabled");
            Finding::warning(Area::Tables, subject, what).remedy(patient.aws(&mend))
        });
    }
    findings
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

fn of_index(patient: &Patient<'_>, table: &str, indexes: &[GlobalSecondaryIndexDescription]) -> Finding {
    let subject = format!("ConnectionsTable {ROOM_INDEX}");
    let Some(index) = indexes.iter().find(|index| index.index_name() == Some(ROOM_INDEX)) else {
        let what = "the index is missing: no room has members, nothing is broadcast";
        return Finding::problem(Area::Tables, subject, what).remedy(create_index(patient, table));
    };
    let projection = index.projection();
    let projected = projection.map(aws_sdk_dynamodb::types::Projection::non_key_attributes).unwrap_or_default();
    let is_all = projection.and_then(|projection| projection.projection_type()) == Some(&ProjectionType::All);
    let lacks: Vec<_> =
        PROJECTED.into_iter().filter(|wanted| !is_all && !projected.iter().any(|have| have == wanted)).collect();
    if names(index.key_schema()) != ["roomId", "slot"] || !lacks.is_empty() {
        let what = format!("the index has other keys, or lacks {}: delete it, then run this again", lacks.join(", "));
        let update = json!([{ "Delete": { "IndexName": ROOM_INDEX } }]);
        let update = quoted_json(&update);
        let mend = format!("dynamodb update-table --table-name {table} --global-secondary-index-updates {update}");
        return Finding::problem(Area::Tables, subject, what).remedy(patient.aws(&mend));
    }
    match index.index_status() {
        // The emulator leaves it out of indexes that came with their table.
        None | Some(IndexStatus::Active | IndexStatus::Updating) => Finding::ok(Area::Tables, subject, "ACTIVE"),
        Some(status) => {
            let what = format!("the index is {status}: rooms have no members until it is ACTIVE");
            let wait = patient.aws(&format!(
                "dynamodb describe-table --table-name {table} --query Table.GlobalSecondaryIndexes[].IndexStatus"
            ));
            Finding::problem(Area::Tables, subject, what).remedy(wait)
        }
    }
}

fn create_index(patient: &Patient<'_>, table: &str) -> String {
    let attributes = json!([
        { "AttributeName": "connectionId", "AttributeType": "S" },
        { "AttributeName": "roomId", "AttributeType": "S" },
        { "AttributeName": "slot", "AttributeType": "N" },
    ]);
    let create = json!([{ "Create": {
        "IndexName": ROOM_INDEX,
        "KeySchema": [
            { "AttributeName": "roomId", "KeyType": "HASH" },
            { "AttributeName": "slot", "KeyType": "RANGE" },
        ],
        "Projection": { "ProjectionType": "INCLUDE", "NonKeyAttributes": PROJECTED },
    } }]);
    let (attributes, create) = (quoted_json(&attributes), quoted_json(&create));
    patient.aws(&format!(
        "dynamodb update-table --table-name {table} --attribute-definitions {attributes} --global-secondary-index-updates {create}"
    ))
}
