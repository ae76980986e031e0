//! The replies about a room's members: `joined` and `getMembers`.

use serde_json::{Value, json};
use shared::clock::Clock;
use shared::limits::{MAX_MESSAGE_BYTES, MAX_POST_BYTES, MEMBERS_BYTES, STATE_REPLY_BYTES};
use testkit::aws_endpoint::{Fault, Rule};
use testkit::events;

use super::world::World;

fn member(id: &str, data: u64) -> Value {
    json!({ "id": id, "data": data })
}

impl World {
    async fn members(&self, frame: Value) -> Value {
        let mut frame = frame;
        frame["action"] = json!("getMembers");
        self.ask("ann-1=", frame).await.reply
    }
}

#[tokio::test]
async fn a_member_is_told_of_the_published_list_and_is_in_it() {
    let world = World::new();
    let before = world.enter("ann-1=", "chat:1", json!(5)).await.reply;
    assert_eq!(before["presence"], json!({ "id": "ann", "rev": 0, "count": 1, "members": [member("ann", 5)] }));
    world.publish("chat:1", 7, 2, Some(&json!({ "ann": 4, "bob": null })));
    let joined = world.enter("ann-1=", "chat:1", json!(5)).await.reply;
    assert_eq!(
        joined["presence"],
        json!({ "id": "ann", "rev": 7, "count": 2, "members": [member("ann", 5), { "id": "bob" }] })
    );
    assert_eq!(
        (&before["syncWithinMs"], world.join("ann-2=", "plain").await.reply.get("syncWithinMs")),
        (&json!(540_000), None)
    );
    assert!(joined["now"].as_u64().unwrap().abs_diff(world.clock.unix_millis()) < 1_000);
    let joined = world.enter("cy-1=", "chat:1", json!(6)).await.reply;
    assert_eq!((&joined["presence"]["rev"], &joined["presence"]["count"]), (&json!(7), &json!(3)));
    assert_eq!(joined["presence"]["members"][2], member("cy", 6));
    world.publish("chat:1", 9, 4_000, None);
    let joined = world.enter("ann-1=", "chat:1", json!(5)).await.reply;
    assert_eq!(joined["presence"], json!({ "id": "ann", "rev": 9, "count": 4_000 }), "too many for a list");
}

#[tokio::test]
async fn a_list_that_is_too_long_for_a_reply_comes_in_pages() {
    let world = World::new();
    let name = |number: usize| format!("m{number:03}");
    let all: Value = (0..200).map(|number| (name(number), json!("x".repeat(300)))).collect();
    world.publish("chat:1", 7, 200, Some(&all));
    let mut page = world.enter("zoe-1=", "chat:1", json!(1)).await.reply["presence"].take();
    assert_eq!((&page["count"], page["members"].as_array().unwrap().last()), (&json!(201), Some(&member("zoe", 1))));
    page["members"].as_array_mut().unwrap().pop();
    assert!(page["members"].to_string().len() <= MEMBERS_BYTES);
    let mut ids = Vec::new();
    loop {
        assert_eq!(page["rev"], 7);
        ids.extend(page["members"].as_array().unwrap().iter().map(|member| member["id"].as_str().unwrap().to_owned()));
        let Some(next) = page.get("next") else { break };
        page = world.members(json!({ "roomId": "chat:1", "after": next, "limit": 500 })).await;
    }
    assert_eq!(ids, (0..200).map(name).collect::<Vec<_>>());
    let page = world.members(json!({ "roomId": "chat:1", "after": "m004", "limit": 2 })).await;
    assert_eq!(
        (&page["members"][0]["id"], &page["next"], &page["count"]),
        (&json!("m005"), &json!("m006"), &json!(200))
    );
    assert_eq!(world.members(json!({ "roomId": "chat:1" })).await["next"], "m099", "as many as are asked for");
    let first = world.members(json!({ "roomId": "chat:1", "after": "", "limit": 1 })).await;
    assert_eq!((&first["members"][0]["id"], &first["next"]), (&json!("m000"), &json!("m000")));
}

/// A list of five hundred with 400 bytes each: 200 KB in a row of 50 units.
fn a_large_list() -> Value {
    (0..500).map(|number| (format!("m{number:03}"), json!("x".repeat(380)))).collect()
}

impl World {
    /// Reads a list to its end, as the library does; returns the replies.
    async fn list(&self) -> Vec<Value> {
        let mut pages = vec![self.members(json!({ "roomId": "chat:1", "limit": 500 })).await];
        let rev = pages[0]["rev"].clone();
        while let Some(next) = pages.last().unwrap().get("next") {
            let page = json!({ "roomId": "chat:1", "after": next, "rev": rev, "limit": 500 });
            pages.push(self.members(page).await);
        }
        pages
    }
}

#[tokio::test]
async fn a_list_that_many_ask_for_is_two_replies_and_read_once_a_second() {
    let world = World::new();
    world.publish("chat:1", 7, 500, Some(&a_large_list()));
    for second in 1..=3 {
        world.dynamodb.endpoint().clear_calls();
        for _ in 0..40 {
            let pages = world.list().await;
            assert!(pages.iter().all(|page| page.to_string().len() <= STATE_REPLY_BYTES));
            let members: usize = pages.iter().map(|page| page["members"].as_array().unwrap().len()).sum();
            assert_eq!((pages.len(), members), (2, 500));
        }
        assert_eq!(world.dynamodb.count("GetItem"), 1, "in second {second}");
        world.pass(2);
    }
    let units = world.dynamodb.metered_calls().iter().map(|call| call.units).fold(0.0, f64::max);
    assert!((48.0..=54.0).contains(&units), "{units} read units a row");
}

#[tokio::test]
async fn lists_of_sixteen_rooms_are_kept_and_then_the_oldest_makes_way() {
    let world = World::new();
    let rooms: Vec<_> = (1..=17).map(|number| format!("chat:{number}")).collect();
    for room in &rooms {
        world.publish(room, 7, 1, Some(&json!({ "ann": 1 })));
    }
    let reads = async |rooms: &[String]| {
        world.dynamodb.endpoint().clear_calls();
        for room in rooms {
            assert_eq!(world.members(json!({ "roomId": room })).await["rev"], 7);
        }
        world.dynamodb.count("GetItem")
    };
    assert_eq!((reads(&rooms[..16]).await, reads(&rooms[..16]).await), (16, 0));
    assert_eq!((reads(&rooms[16..]).await, reads(&rooms[1..]).await), (1, 0));
    assert_eq!(reads(&rooms[..1]).await, 1);
}

#[tokio::test]
async fn no_page_is_of_an_older_list_than_the_one_before() {
    let world = World::new();
    world.publish("chat:1", 7, 500, Some(&a_large_list()));
    let page = async |after: Option<&str>, rev: Option<u64>| {
        let mut frame = json!({ "roomId": "chat:1", "after": after, "rev": rev });
        frame.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        world.members(frame).await["rev"].as_u64().unwrap()
    };
    assert_eq!(page(None, None).await, 7);
    world.publish("chat:1", 8, 500, Some(&a_large_list()));
    assert_eq!(page(None, None).await, 7, "as of a second ago");
    assert_eq!(page(Some("m100"), Some(7)).await, 7);
    assert_eq!(page(Some("m100"), Some(8)).await, 8, "another environment had a newer one");
    world.publish("chat:1", 9, 500, Some(&a_large_list()));
    assert_eq!(page(Some("m100"), None).await, 9, "who does not say what it has");
    world.publish("chat:1", 10, 500, Some(&a_large_list()));
    world.pass(2);
    assert_eq!(page(None, None).await, 10);
}

/// API Gateway takes no frame above 128 KiB: a client that got no reply would ask for ever.
#[tokio::test]
async fn beside_the_largest_message_a_list_is_shorter_and_goes_on() {
    let world = World::new();
    let all: Value = (0..30).map(|number| (format!("m{number:03}"), json!("x".repeat(1_000)))).collect();
    world.publish("chat:1", 7, 30, Some(&all));
    world.seed_largest_message("chat:1");
    let join = json!({
        "action": "joinRoom", "roomId": "chat:1", "after": 0, "presence": true, "presenceData": "y".repeat(1_022),
    });
    let text = world.session.text_of("zoe-1=", join).await;
    assert!((MAX_MESSAGE_BYTES..=MAX_POST_BYTES).contains(&text.len()), "{}", text.len());
    let joined: Value = serde_json::from_str(&text).unwrap();
    let members = joined["presence"]["members"].as_array().unwrap();
    assert_eq!((joined["messages"].as_array().unwrap().len(), &members.last().unwrap()["id"]), (1, &json!("zoe")));
    assert_eq!(joined["presence"]["next"], members[members.len() - 2]["id"]);
}

#[tokio::test]
async fn of_a_room_without_a_list_a_page_is_what_the_index_shows() {
    let world = World::new();
    for (connection, data) in [("ann-1=", 1), ("ann-2=", 2), ("bob-1=", 3), ("cy-1=", 4), ("dan-1=", 5)] {
        world.pass(1);
        world.enter(connection, "both:1", json!(data)).await;
    }
    world.join("cy-1=", "both:1").await;
    world.publish("both:1", 9, 4_000, None);
    let page = world.members(json!({ "roomId": "both:1", "limit": 2 })).await;
    assert_eq!(
        page,
        json!({
            "type": "members", "roomId": "both:1", "listed": false, "rev": 9, "count": 4_000, "next": "bob",
            "members": [member("ann", 2), member("bob", 3)],
        })
    );
    let rest = world.members(json!({ "roomId": "both:1", "after": "bob" })).await;
    assert_eq!((&rest["members"], rest.get("next")), (&json!([member("dan", 5)]), None));
}

#[tokio::test]
async fn who_may_join_may_see_the_members_where_presence_is_kept() {
    let world = World::new();
    assert_eq!(
        world.members(json!({ "roomId": "chat:1" })).await,
        json!({ "type": "members", "roomId": "chat:1", "listed": true, "rev": 0, "count": 0, "members": [] })
    );
    for room in ["plain", "shop:1"] {
        let refused = world.members(json!({ "roomId": room })).await;
        assert_eq!(
            (&refused["code"], &refused["message"]),
            (&json!("bad_request"), &json!("`roomId` is of a room that keeps no presence"))
        );
    }
    let mut frame = events::frame("ann-1=", "ann", r#"{"action":"getMembers","roomId":"chat:1"}"#);
    frame["requestContext"]["authorizer"] = events::granted("ann", &json!({ "*": ["send", "history"] }), u64::MAX);
    assert_eq!(world.session.handle(frame).await.reply["code"], "forbidden");
    world.dynamodb.fault(Rule::on("GetItem", Fault::throughput_exceeded()));
    world.pass(2);
    assert_eq!(world.members(json!({ "roomId": "chat:1" })).await["code"], "rate_limited");
    assert_eq!(world.enter("ann-1=", "chat:1", json!(1)).await.reply["code"], "rate_limited");
}
