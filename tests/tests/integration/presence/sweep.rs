//! The function `sweeper` in a world of presence.

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ingest::connections_api::ConnectionsApi;
use ingest::presence::tick::Ticks;
use ingest::sweep::{Sweep, SweepSettings};
use ingest::sweeper::SweeperFunction;
use lambda_runtime::{Context, LambdaEvent};
use shared::metrics::Metrics;
use shared::store::scan::RowTable;
use shared::store::sweep::SweepPosition;
use testkit::aws_sdk::sdk_config;
use testkit::connections_server::ConnectionsServer;
use testkit::dynamodb::{CONGESTION_TABLE, CONNECTIONS_TABLE};
use testkit::steps::Steps;

use super::world::{LEASE, World, connection};

impl World {
    /// Runs the function `sweeper` as its schedule does. Ended connections are gone from the API.
    pub(super) async fn sweep(&self) {
        let api = ConnectionsServer::start();
        for connection in (1..=self.connected.get()).map(connection) {
            if !self.members.borrow().contains_key(&connection) {
                api.close(&connection);
            }
        }
        let endpoint = self.lagging.endpoint(&Steps::default());
        let sdk = sdk_config(&endpoint.url());
        let client = aws_sdk_dynamodb::Client::new(&sdk);
        let settings = SweepSettings {
            per_second: NonZeroU32::new(100_000).unwrap(),
            gone_grace: Duration::from_secs(10),
            confirm_after: Duration::ZERO,
            lease_seconds: LEASE / 1_000,
            is_dry: false,
        };
        let new_sweep = || {
            let connections_api = ConnectionsApi::new(&sdk, &api.endpoint());
            Sweep::new(
                RowTable::new(client.clone(), CONNECTIONS_TABLE),
                connections_api,
                self.session_clock.clone(),
                settings,
            )
        };
        let position = SweepPosition::new(client.clone(), CONGESTION_TABLE, self.session_clock.clone());
        let ticks = Ticks::new(Some(self.ticks.clone()), self.session_clock.clone());
        let function = SweeperFunction::new(position, new_sweep, ticks);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(600);
        let mut context = Context::default();
        context.deadline = u64::try_from(now.as_millis()).unwrap();
        let event = LambdaEvent::new(serde_json::from_str("{}").unwrap(), context);
        function.handle(event, &Metrics::default()).await.unwrap();
    }
}
