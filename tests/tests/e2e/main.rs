//! The whole system on the local stack: the template, the real functions with their roles' policies enforced, and real
//! WebSocket clients.
//!
//! A stack takes seconds to start, so scenarios share it and keep apart by their rooms and subjects; only parameters
//! that must differ are worth another one (see [`stacks`]). The standard harness has no place to stop a stack at the
//! end, hence a `main`; names and options on the command line work as with any test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test a broken expectation must stop the test, loudly and where it broke"
)]

mod alarms;
mod broadcast;
mod bus_sink;
mod chaos;
mod cli;
mod client_library;
mod contract;
mod environments;
mod ephemeral;
mod events;
mod faults;
mod gone;
mod handshake;
mod hostile;
mod lifecycle;
mod members;
mod permissions;
mod personal;
mod posts;
mod presence;
mod producers;
mod reader;
mod refusals;
mod resume;
mod retention;
mod rights;
mod shares;
mod stacks;
mod state;
mod tables;
mod tokens;
mod wait;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use cli::{arguments, bench, doctor, letters, maintenance, reading, remedies, smoke};
use libtest_mimic::{Arguments, Failed, Trial};
use stacks::Stacks;
use tokio::runtime::Runtime;

/// Scenarios at once. They wait more than they work, but the emulator is one Python process.
const THREADS: usize = 4;

/// The time for one scenario, the start of its stack included: many times what the longest needs, since it only ends
/// one that would never end.
const SCENARIO_WITHIN: Duration = Duration::from_mins(20);

/// A trial for each scenario, with its path as its name.
macro_rules! scenarios {
    ($runtime:expr, $stacks:expr; $($module:ident::$scenario:ident,)*) => {
        vec![$({
            let (runtime, stacks) = ($runtime.handle().clone(), Arc::clone($stacks));
            Trial::test(concat!(stringify!($module), "::", stringify!($scenario)), move || {
                runtime.block_on(in_time($module::$scenario(&stacks)))
            })
        }),*]
    };
}

async fn in_time(scenario: impl Future<Output = ()>) -> Result<(), Failed> {
    let done = tokio::time::timeout(SCENARIO_WITHIN, scenario).await;
    done.map_err(|_| format!("not done within {SCENARIO_WITHIN:?}").into())
}

/// The scenarios of an operator's work with rooms, messages and connections.
fn operators(runtime: &Runtime, stacks: &Arc<Stacks>) -> Vec<Trial> {
    scenarios![runtime, stacks;
        arguments::bad_arguments_are_refused_with_their_limit,
        arguments::a_stack_that_is_not_there_is_said_to_be_missing,
        arguments::each_shell_has_its_completions,
        letters::dead_letters_are_listed_shown_and_discarded,
        letters::a_dead_letter_is_redriven_to_where_it_came_from,
        letters::a_shards_job_is_redriven_to_the_shards,
        letters::unmatched_events_are_listed,
        maintenance::a_sweep_deletes_what_was_left_behind,
        maintenance::a_subject_is_disconnected_everywhere,
        reading::lines_are_published_once_and_tailed,
        reading::a_tail_follows_the_log,
        reading::members_and_numbers_of_a_room_are_shown,
        reading::what_presence_has_published_is_shown,
        reading::a_messages_way_is_explained,
    ]
}

/// State, presence, ephemeral messages, lifecycle events.
fn beside_messages(runtime: &Runtime, stacks: &Arc<Stacks>) -> Vec<Trial> {
    scenarios![runtime, stacks;
        presence::those_who_come_and_go_are_told_once,
        presence::an_end_that_nobody_reports_is_found_by_the_living,
        presence::of_a_large_room_the_number_alone_is_told,
        presence::members_come_in_pages,
        presence::a_beat_renews_the_lease_of_who_lives,
        presence::a_room_without_presence_has_no_members,
        lifecycle::a_backend_hears_who_comes_and_goes,
        state::a_joiner_has_the_newest_value_of_each_key,
        state::state_comes_in_pages,
        state::an_expired_value_is_absent_and_its_versions_are_remembered,
        state::a_stack_without_state_leaves_it_out,
        state::a_stack_without_presence_refuses_what_needs_it,
        ephemeral::typing_is_seen_and_leaves_no_trace,
        ephemeral::a_producers_ephemerals_arrive_unless_they_are_old,
        ephemeral::what_cannot_be_ephemeral_is_refused,
    ]
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let runtime = Runtime::new().expect("a runtime");
    let stacks = Arc::new(Stacks::default());
    // Scenarios that take longest come first. The first two kill processes that they find in /proc, as Linux has it.
    let killed = scenarios![&runtime, &stacks;
        chaos::after_half_a_minute_of_chaos_everybody_has_everything,
        faults::killed_in_mid_broadcast_fanout_still_delivers_everything_once_numbered,
    ];
    let mut trials: Vec<_> =
        killed.into_iter().map(|trial| trial.with_ignored_flag(cfg!(not(target_os = "linux")))).collect();
    trials.extend(scenarios![&runtime, &stacks;
        remedies::doctor_names_each_fault_and_its_command_mends_it,
        permissions::every_permission_of_every_function_is_needed,
        smoke::smoke_fails_when_any_one_function_is_broken,
        permissions::every_permission_of_message_is_needed_before_the_bus,
        permissions::events_that_the_queue_refuses_wait_until_it_takes_them,
        permissions::the_queues_take_no_call_without_tls,
        alarms::they_are_deployed_with_a_dashboard_of_what_there_is,
        alarms::a_dead_letter_rings_until_it_is_discarded,
        alarms::an_unmatched_event_rings_until_it_is_discarded,
        alarms::a_bad_configuration_rings_until_it_is_mended,
        alarms::refused_tokens_ring_until_they_are_good,
        alarms::undelivered_posts_ring_until_they_arrive,
        alarms::the_others_ring_for_what_aws_reports,
        alarms::a_queue_that_nobody_reads_rings_until_somebody_does,
        broadcast::fifty_clients_in_five_rooms_receive_exactly_their_rooms_in_order,
        resume::a_client_cut_at_random_moments_sees_every_message_once,
        broadcast::a_room_cut_into_shards_receives_everything_in_order,
        faults::sending_is_answered_while_every_post_hangs,
        faults::clients_converge_when_a_fifth_of_all_posts_is_lost,
        bus_sink::a_message_sent_through_the_bus_reaches_the_room_once,
        bus_sink::a_token_must_be_of_the_issuer_and_for_the_audience,
        broadcast::a_retry_with_the_same_id_arrives_once,
        smoke::smoke_passes_and_leaves_nothing,
        smoke::smoke_cleans_up_when_it_is_interrupted,
        smoke::smoke_refuses_what_makes_no_sense,
        bench::bench_measures_within_its_posts_and_leaves_nothing,
        bench::bench_refuses_more_posts_than_it_may_cause,
        doctor::doctor_finds_a_new_stack_in_good_order,
        doctor::doctor_asks_for_the_permissions_of_the_template,
        doctor::doctor_refuses_what_makes_no_sense,
        contract::the_description_has_every_field,
        contract::a_token_made_on_the_command_line_connects,
        events::an_event_of_a_producer_reaches_the_room_once,
        events::a_burst_of_events_reaches_its_rooms_whole,
        events::the_failure_queue_is_drained_by_itself,
        events::an_event_of_another_type_is_kept_where_it_can_be_read,
        events::an_event_that_is_no_message_goes_to_the_dead_letter_queue_with_its_reason,
        gone::a_killed_clients_rows_go_with_its_disconnect,
        gone::rows_whose_disconnect_was_lost_go_with_the_next_broadcast_but_young_ones_stay,
        gone::a_client_whose_row_was_lost_hears_again_after_its_next_sync,
        gone::a_living_connection_that_is_said_to_be_gone_is_closed_and_comes_back,
        handshake::tokens_that_prove_nothing_are_refused,
        handshake::a_token_in_the_authorization_header_connects,
        handshake::connecting_with_a_room_joins_it_at_once,
        handshake::connecting_with_a_room_that_may_not_be_joined_is_refused,
        personal::a_direct_message_reaches_every_device_of_its_owner_and_nobody_else,
        personal::a_personal_room_is_closed_to_others,
        personal::all_devices_log_out_at_a_message_to_the_personal_room,
        hostile::each_hostile_frame_is_refused_and_the_next_one_served,
        hostile::data_is_data_whatever_it_looks_like,
        hostile::ids_that_could_collide_do_not,
        rights::each_right_lets_through_what_it_is_for_and_nothing_else,
        rights::a_token_without_rights_has_its_own_personal_room_and_nothing_else,
        rights::a_connection_ends_with_its_token,
        rights::a_subject_has_so_many_connections_and_a_connection_so_many_rooms,
        producers::records_written_to_the_queue_arrive_in_order,
        producers::poison_in_the_queue_goes_to_the_dead_letter_queue_and_blocks_nothing,
        producers::of_messages_with_a_key_all_are_logged_and_the_newest_arrives,
        refusals::every_bad_frame_gets_its_error_and_the_connection_stays_usable,
        resume::history_comes_in_pages_newest_first,
        resume::one_sync_tells_what_was_missed_in_several_rooms,
        shares::whoever_sends_too_much_is_told_when_to_try_again,
        shares::whoever_asks_too_much_is_told_when_to_ask_again,
        tokens::an_issuers_keys_are_rotated_while_clients_are_connected,
        tokens::a_rotated_secret_cuts_nobody_and_the_one_before_it_is_good_until_the_next,
        tokens::of_an_issuers_tokens_those_for_us_are_taken,
        tokens::tokens_of_others_and_forged_ones_are_refused,
        tokens::a_token_without_rights_has_those_of_the_stack,
        tokens::a_page_of_another_origin_is_refused,
        tokens::an_empty_token_in_the_query_hides_none_in_the_header,
        retention::what_has_expired_is_reported_as_truncated,
        retention::a_room_silent_past_its_retention_starts_anew,
    ]);
    trials.extend(beside_messages(&runtime, &stacks));
    trials.extend(operators(&runtime, &stacks));
    trials.push(chaos::long_run(runtime.handle()));
    trials.extend(client_library::trials(runtime.handle(), &stacks));
    let conclusion = libtest_mimic::run(&arguments, trials);
    if conclusion.has_failed() {
        stacks.keep_logs();
    }
    Arc::into_inner(stacks).expect("every trial is gone").stop();
    conclusion.exit_code()
}
