//! A group that falls behind: the notes of fan-out, and their effect on `message`.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use shared::congestion::Cut;
use shared::congestion::law::{GroupRow, Sight};
use shared::store::congestion::CongestionTable;
use testkit::aws_endpoint::{Call, Fault, Rule};
use testkit::aws_sdk::sdk_config;
use testkit::dynamodb::CONGESTION_TABLE;
use testkit::events::{self, QueueRecord};
use testkit::runtime_api::{Environment, Function};

use super::{World, invoke, message};

fn unix_millis() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A batch of so many messages, queued at a time.
fn batch(count: usize, queued_at: u64) -> Vec<QueueRecord> {
    (0..count).map(|number| message("room", &format!("m{number}")).queued_at(queued_at)).collect()
}

fn table(world: &World) -> CongestionTable {
    CongestionTable::new(aws_sdk_dynamodb::Client::new(&sdk_config(&world.dynamodb.url())), CONGESTION_TABLE)
}

/// The calls about congestion.
fn calls(world: &World) -> Vec<String> {
    let is_about = |call: &Call| call.body["TableName"] == CONGESTION_TABLE;
    let tables = world.dynamodb.endpoint().calls().into_iter().filter(is_about).map(|call| call.operation);
    let queues = world.queues.calls().into_iter().map(|call| call.operation);
    tables.chain(queues.filter(|operation| operation == "GetQueueAttributes")).collect()
}

async fn send(function: &Environment, room: &str) -> Value {
    let frame = json!({ "action": "sendMessage", "roomId": room, "data": 1 });
    let invocation = function.invoke(&events::frame("c=", "flooder", &frame.to_string())).await;
    serde_json::from_str(invocation.response()["body"].as_str().unwrap()).unwrap()
}

fn message_function(world: &World) -> Function {
    Function::of_workspace("message")
        .env("AWS_ENDPOINT_URL_DYNAMODB", world.dynamodb.url())
        .env("AWS_ENDPOINT_URL_SQS", world.queues.url())
        .env("CONNECTIONS_ENDPOINT", world.connections.endpoint())
        .env("CONGESTION_TABLE", CONGESTION_TABLE)
        .env("SUBJECT_MESSAGES_PER_SECOND", 0)
        .env("QUEUE_URL", world.queues.queue_url("broadcasts.fifo"))
}

#[tokio::test]
async fn a_room_that_falls_behind_is_noted_by_fanout_and_shed_by_message() {
    let world = World::start();
    world.seed("room", "c", 1);
    let (fanout, sender) = (world.fanout().start().await.unwrap(), message_function(&world).start().await.unwrap());
    assert_eq!(send(&sender, "elsewhere").await["type"], "accepted");
    let queued_at = unix_millis() - 30_000;

    // The first sight.
    assert_eq!(invoke(&fanout, &batch(10, queued_at)).await, Vec::<String>::new());
    let row = table(&world).row("room").await.unwrap().expect("a row");
    assert_eq!((row.sight.queued_at, row.cut), (queued_at, None));
    assert!(row.sight.depth >= 1);

    // The next: twenty seconds later the head has moved on by a tenth of a second only, and the queue is deeper.
    let sight = Sight { seen_at: unix_millis() - 20_000, queued_at, depth: 0 };
    table(&world).put("room", &GroupRow { sight, cut: None }).await.unwrap();
    assert_eq!(invoke(&fanout, &batch(10, queued_at + 100)).await, Vec::<String>::new());
    let cut = table(&world).row("room").await.unwrap().and_then(|row| row.cut).expect("a cut");
    assert!(cut.fraction < 0.01 && cut.hold >= 20_000, "{cut:?}");

    // A new environment learns of the cut beside its first messages.
    let sender = message_function(&world).start().await.unwrap();
    let mut reply = send(&sender, "room").await;
    for _ in 0..500 {
        if reply["type"] == "error" {
            break;
        }
        reply = send(&sender, "room").await;
    }
    assert_eq!((&reply["code"], reply["id"].is_string()), (&json!("rate_limited"), true), "{reply}");
    let retry_after = reply["retryAfterMs"].as_u64().unwrap();
    assert!((1_000..=30_000).contains(&retry_after), "{reply}");
    assert_eq!(send(&sender, "elsewhere").await["type"], "accepted", "of other rooms nobody is shed");
}

/// After an outage every room is behind for a moment; the one page that `message` reads must not be full of such rooms.
#[tokio::test]
async fn message_reads_groups_that_are_cut_and_no_others() {
    let world = World::start();
    let sight = Sight { seen_at: unix_millis(), queued_at: unix_millis() - 9_000, depth: 5 };
    let cut = Cut { fraction: 0.25, since: unix_millis(), hold: 60_000 };
    for (group, cut) in [("behind", None), ("cut/0", Some(cut))] {
        let row = GroupRow { sight, cut };
        table(&world).put(group, &row).await.unwrap();
        assert_eq!(table(&world).row(group).await.unwrap(), Some(row));
    }
    assert_eq!(table(&world).cuts().await.unwrap(), [("cut/0".to_owned(), cut)]);
    let client = aws_sdk_dynamodb::Client::new(&sdk_config(&world.dynamodb.url()));
    let rooms = client.query().table_name(CONGESTION_TABLE).key_condition_expression("#scope = :rooms");
    let rooms = rooms.expression_attribute_names("#scope", "scope");
    let rooms = rooms.expression_attribute_values(":rooms", AttributeValue::S("rooms".to_owned()));
    assert_eq!(rooms.send().await.unwrap().scanned_count(), 1);
}

#[tokio::test]
async fn rooms_that_are_not_behind_cost_no_call() {
    let world = World::start();
    world.seed("room", "c", 1);
    let fanout = world.fanout().start().await.unwrap();
    // The full batch is queued ten minutes in the future, so that it does not grow old on a busy machine.
    for records in [batch(10, unix_millis() + 600_000), batch(9, unix_millis() - 60_000)] {
        assert_eq!(invoke(&fanout, &records).await, Vec::<String>::new());
    }
    assert_eq!(calls(&world), Vec::<String>::new());
}

#[tokio::test]
async fn each_group_that_is_behind_costs_a_read_and_the_batch_one_look_at_the_queue() {
    let world = World::start();
    let old = unix_millis() - 60_000;
    let records: Vec<_> =
        (0..10).map(|number| message(["a", "b"][number % 2], &number.to_string()).queued_at(old)).collect();
    let fanout = world.fanout().start().await.unwrap();
    invoke(&fanout, &records).await;
    let mut first = calls(&world);
    first.sort();
    assert_eq!(first, ["GetItem", "GetItem", "GetQueueAttributes", "PutItem", "PutItem"]);
    // A second sight at once has nothing new to note.
    invoke(&fanout, &records).await;
    let mut both = calls(&world);
    both.sort();
    assert_eq!(both.iter().filter(|call| *call == "PutItem").count(), 2, "{both:?}");
}

#[tokio::test]
async fn a_batch_is_broadcast_whatever_becomes_of_its_notes() {
    let is_about = |call: &Call| call.body["TableName"] == CONGESTION_TABLE;
    for fault in [Fault::access_denied(), Fault::internal_error(), Fault::Hang] {
        for operation in ["GetItem", "PutItem"] {
            let world = World::start();
            world.seed("room", "c", 1);
            world.dynamodb.fault(Rule::on(operation, fault.clone()).when(is_about));
            let fanout = world.fanout().start().await.unwrap();
            assert_eq!(invoke(&fanout, &batch(10, unix_millis() - 60_000)).await, Vec::<String>::new());
            assert_eq!(world.jobs().len(), 1, "a full batch goes on in a shard");
        }
    }
    let world = World::start();
    world.seed("room", "c", 1);
    world.queues.fault(Rule::on("GetQueueAttributes", Fault::access_denied()));
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &batch(10, unix_millis() - 60_000)).await, Vec::<String>::new());
    assert_eq!((world.jobs().len(), calls(&world)), (1, vec!["GetQueueAttributes".to_owned()]));
    let is_about = |line: &Value| line["message"] == "which groups are behind is not noted for a while";
    let lines = fanout.logged(1, is_about).await;
    assert!(lines[0]["problem"].as_str().unwrap().contains("AccessDenied"), "{lines:?}");
    // A table or queue in trouble is left alone for a while.
    invoke(&fanout, &batch(10, unix_millis() - 60_000)).await;
    assert_eq!(calls(&world).len(), 1);
}

/// A single message in a batch that others fill waits because of them; its room must not be shed for that.
#[tokio::test]
async fn a_group_of_which_a_full_batch_has_little_is_not_noted() {
    let world = World::start();
    let old = unix_millis() - 60_000;
    let of_room = |(room, count): (&'static str, usize)| (0..count).map(move |number| (room, number));
    let records = [("full", 5), ("a", 4), ("b", 1)].into_iter().flat_map(of_room);
    let records: Vec<_> =
        records.map(|(room, number)| message(room, &format!("{room}-{number}")).queued_at(old)).collect();
    invoke(&world.fanout().start().await.unwrap(), &records).await;
    assert_eq!(calls(&world).iter().filter(|call| *call == "GetItem").count(), 1);
    assert!(table(&world).row("full").await.unwrap().is_some());
}
