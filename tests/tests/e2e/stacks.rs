//! The stacks that the scenarios share. Each is started by the first scenario that wants it.

use std::fmt;
use std::time::Duration;

use testkit::issuer::{Issuer, SigningKey};
use testkit::stack::LocalStack;
use tokio::sync::{Mutex, MutexGuard, OnceCell, RwLock};

pub(crate) use crate::posts::Behaviour;
use crate::posts::Posts;
use crate::tables::set_visibility_timeout;

/// Connections above which the shared stack's rooms are cut into shards. Rooms of the other scenarios are smaller.
pub(crate) const SHARD_SIZE: usize = 12;

/// Subjects of a room above which the shared stack tells their number alone.
pub(crate) const PRESENCE_LIST_MAX: usize = 5;

/// Connections that a subject of the faulty stack may have.
pub(crate) const SUBJECT_CONNECTIONS: usize = 4;

/// Rooms that a connection of the faulty stack may be in.
pub(crate) const CONNECTION_ROOMS: usize = 5;

/// Connections above which rooms are cut into shards where permissions are taken away.
pub(crate) const PERMISSIONS_SHARD_SIZE: usize = 2;

/// The issuer that the tokens of the bus stack, as those of the tokens stack, must name.
pub(crate) const ISSUER: &str = "https://issuer.example";

/// The audience that those tokens must name.
pub(crate) const AUDIENCE: &str = "roomcast";

/// A minute of an alarm's period, on the stack of alarms.
pub(crate) const ALARM_MINUTE: Duration = Duration::from_secs(2);

/// All stacks of the run; `None` stands for one that did not start, which nobody tries again.
#[derive(Debug, Default)]
pub(crate) struct Stacks {
    shared: OnceCell<Option<LocalStack>>,
    bus: OnceCell<Option<LocalStack>>,
    faulty: OnceCell<Option<Mutex<FaultyStack>>>,
    tokens: OnceCell<Option<TokensStack>>,
    alarms: OnceCell<Option<RwLock<FaultyStack>>>,
}

impl Stacks {
    /// The stack of most scenarios. They run side by side: other rooms and subjects for each, and no faults.
    pub(crate) async fn shared(&self) -> &LocalStack {
        let (shard_size, list_max) = (SHARD_SIZE.to_string(), PRESENCE_LIST_MAX.to_string());
        started(&self.shared, async move {
            let parameters = [
                ("FanoutShardSize", shard_size.as_str()),
                ("FanoutShards", "4"),
                ("PresenceListMax", &list_max),
                ("LifecycleRooms", "life:*"),
                ("LifecycleEvents", "room,member"),
            ];
            LocalStack::start(&parameters).await
        })
        .await
    }

    /// A stack that sends messages through the event bus, asks tokens for issuer and audience, gives subjects small
    /// shares, calls its functions by their aliases, and does without state, presence and ephemeral messages.
    pub(crate) async fn bus(&self) -> &LocalStack {
        let parameters = [
            ("IngestSink", "eventbridge"),
            ("AuthIssuer", ISSUER),
            ("AuthAudience", AUDIENCE),
            ("SubjectMessagesPerSecond", "2"),
            ("SubjectRequestsPerSecond", "2"),
            ("StateRooms", ""),
            ("PresenceRooms", ""),
            ("EphemeralMaxMembers", "0"),
            ("GradualDeployment", "AllAtOnce"),
            ("Release", "1"),
        ];
        started(&self.bus, async move { LocalStack::start(&parameters).await }).await
    }

    /// The stack that takes tokens of another issuer beside its own.
    pub(crate) async fn tokens(&self) -> &TokensStack {
        started(&self.tokens, TokensStack::start()).await
    }

    /// The stack whose posts can be made to fail. One scenario has it at a time, and gets it without faults.
    pub(crate) async fn faulty(&self) -> MutexGuard<'_, FaultyStack> {
        let start = async { Mutex::new(FaultyStack::start().await) };
        let stack = started(&self.faulty, start).await.lock().await;
        stack.posts.behave(Behaviour::Pass);
        stack
    }

    /// The stack whose alarms have low thresholds and short periods. Scenarios share it; one that breaks what others
    /// need takes it alone.
    pub(crate) async fn alarms(&self) -> &RwLock<FaultyStack> {
        started(&self.alarms, async { RwLock::new(FaultyStack::start_with_quick_alarms().await) }).await
    }

    /// Stops all stacks, side by side.
    pub(crate) fn stop(self) {
        let alarms = self.alarms.into_inner().flatten().map(|alarms| alarms.into_inner().stack);
        let faulty = self.faulty.into_inner().flatten().map(|faulty| faulty.into_inner().stack);
        let tokens = self.tokens.into_inner().flatten().map(|tokens| tokens.stack);
        let stacks = [self.shared.into_inner().flatten(), self.bus.into_inner().flatten(), faulty, tokens, alarms];
        std::thread::scope(|scope| {
            for stack in stacks.into_iter().flatten() {
                scope.spawn(move || drop(stack));
            }
        });
    }

    /// Keeps the folders of all stacks, and says where they are.
    pub(crate) fn keep_logs(&self) {
        let faulty = self.faulty.get().and_then(Option::as_ref).and_then(|stack| stack.try_lock().ok());
        let [shared, bus] = [&self.shared, &self.bus].map(|stack| stack.get().and_then(Option::as_ref));
        let tokens = self.tokens.get().and_then(Option::as_ref).map(|tokens| &tokens.stack);
        let alarms = self.alarms.get().and_then(Option::as_ref).and_then(|stack| stack.try_read().ok());
        let (faulty, alarms) =
            (faulty.as_ref().map(|faulty| &faulty.stack), alarms.as_ref().map(|alarms| &alarms.stack));
        let stacks = [shared, bus, faulty, tokens, alarms];
        for stack in stacks.into_iter().flatten() {
            let folder = stack.keep_state();
            #[allow(clippy::print_stderr, reason = "said once, at the end of a run that failed")]
            {
                eprintln!("a stack's logs are in {}", folder.display());
            }
        }
    }
}

/// The stack, which the first scenario to ask for it starts. The start runs in a task, so that a failure panics there,
/// once.
async fn started<T>(stack: &OnceCell<Option<T>>, start: impl Future<Output = T> + Send + 'static) -> &T
where
    T: Send + 'static,
{
    let stack = stack.get_or_init(async || tokio::spawn(start).await.ok()).await;
    stack.as_ref().expect("the stack did not start: the reason stands above")
}

/// A stack whose functions post through an endpoint that can be told to fail.
#[derive(Debug)]
pub(crate) struct FaultyStack {
    pub(crate) stack: LocalStack,
    /// The way of every post.
    pub(crate) posts: Posts,
}

impl FaultyStack {
    async fn start() -> Self {
        Self::start_by(async |parameters| LocalStack::start(parameters).await, &[]).await
    }

    async fn start_with_quick_alarms() -> Self {
        let low = [
            ("UndeliveredAlarmCount", "0"),
            ("FunctionErrorsAlarmCount", "1"),
            ("UnauthorizedAlarmCount", "2"),
            ("QueueAgeAlarmSeconds", "5"),
        ];
        Self::start_by(async |parameters| LocalStack::start_with_alarm_minute(ALARM_MINUTE, parameters).await, &low)
            .await
    }

    async fn start_by(start: impl AsyncFnOnce(&[(&str, &str)]) -> LocalStack, parameters: &[(&str, &str)]) -> Self {
        let posts = Posts::start();
        let endpoint = format!("{}/_aws/execute-api/roomcast/local", posts.url());
        let (connections, rooms) = (SUBJECT_CONNECTIONS.to_string(), CONNECTION_ROOMS.to_string());
        let faulty = [
            ("ConnectionsEndpoint", endpoint.as_str()),
            // The emulator notices the end of an environment when the function's time is up.
            ("FanoutTimeout", "5"),
            ("FanoutDeadlineReserveMs", "500"),
            // Two, so that some posts are lost for good.
            ("FanoutMaxAttempts", "2"),
            ("SubjectConnections", &connections),
            ("ConnectionRooms", &rooms),
        ];
        let stack = start(&[&faulty, parameters].concat()).await;
        // The template takes six times the function's timeout, as AWS advises: 30 seconds, a long wait here.
        set_visibility_timeout(&stack, &stack.description().queue_url, 6).await;
        posts.lead_to(&stack.description().endpoint_url);
        Self { stack, posts }
    }
}

/// The origin of the page that may connect to the tokens stack.
pub(crate) const ORIGIN: &str = "https://app.example.com";

/// A stack that takes tokens of another issuer, and tokens signed with a secret that was there before the stack. It
/// asks pages for their origin.
pub(crate) struct TokensStack {
    pub(crate) stack: LocalStack,
    /// The other issuer, which publishes all three keys at first.
    pub(crate) issuer: Issuer,
    /// A key that stays published.
    pub(crate) rsa: SigningKey,
    /// Another key that stays published.
    pub(crate) ec: SigningKey,
    /// A key that is withdrawn.
    pub(crate) old: SigningKey,
}

impl TokensStack {
    async fn start() -> Self {
        let (rsa, ec, old) = (SigningKey::rsa("rsa"), SigningKey::ec("ec"), SigningKey::rsa("old"));
        let issuer = Issuer::start(&[&rsa, &ec, &old]);
        let stack = LocalStack::start_with_own_secret(&[
            ("AuthJwksUrl", &issuer.url()),
            ("AuthIssuer", ISSUER),
            ("AuthAudience", AUDIENCE),
            ("AuthTokenUse", "access"),
            ("AuthDefaultRooms", r#"{"default:{sub}:*":["join"]}"#),
            ("AllowedOrigins", ORIGIN),
        ])
        .await;
        Self { stack, issuer, rsa, ec, old }
    }
}

impl fmt::Debug for TokensStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokensStack").field(&self.stack).finish()
    }
}
