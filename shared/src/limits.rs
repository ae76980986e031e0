//! Every limit of the wire protocol, with where it comes from.

/// Longest room id, in characters (all of them ASCII). Ours: it is part of every index key and frame.
pub const ROOM_ID_CHARS: usize = 100;

/// Longest `id`, `key` and `requestId`, in characters. Ours: they are echoed in every frame.
pub const NAME_CHARS: usize = 64;

/// Longest subject (`sub`), in bytes. Ours: it is repeated in every message as `from`.
pub const SUBJECT_BYTES: usize = 256;

/// Bytes of a broadcast frame into which messages are packed: API Gateway bills WebSocket messages in units of
/// 32 KB ("Amazon API Gateway pricing").
pub const FRAME_BYTES: usize = 32 * 1024;

/// Bytes of a frame from a client: the largest WebSocket frame that API Gateway accepts ("Amazon API Gateway quotas").
/// The client library keeps to it.
pub const MAX_CLIENT_FRAME_BYTES: usize = 32 * 1024;

/// Bytes of the largest frame to a client: the largest payload that @connections and route responses take ("Amazon API
/// Gateway quotas": WebSocket message payload size, 128 KB). A frame so large carries a single message.
pub const MAX_POST_BYTES: usize = 128 * 1024;

/// Rooms in one `sync`. Ours: they share one reply, and the reads that one frame may cost.
pub const SYNC_ROOMS: usize = 50;

/// Messages in one `history` reply, at most. Ours.
pub const HISTORY_MESSAGES: u32 = 100;

/// Messages in one `history` reply when the request names no limit. Ours.
pub const HISTORY_DEFAULT: u32 = 50;

/// Levels of arrays and objects in a message's `data`. Ours: the strictest parsers take 64 levels in all, and a frame
/// has up to five around the data.
pub const DATA_LEVELS: usize = 50;

/// Longest `ttlSeconds`: a year. Ours.
pub const TTL_SECONDS: u64 = 31_536_000;

/// Longest `presenceData`, in bytes of JSON. Ours: a list of members holds it once for each.
pub const PRESENCE_DATA_BYTES: usize = 1024;

/// Longest `data` of an ephemeral message, in bytes of JSON. Ours: enough for a typing indicator or a cursor.
pub const EPHEMERAL_DATA_BYTES: usize = 4 * 1024;

/// Entries in one page of a room's state, at most. Ours; the reply's bytes are mostly the narrower bound.
pub const STATE_ENTRIES: u32 = 1_000;

/// Members in one page, at most. Ours.
pub const MEMBERS: u32 = 500;

/// Members in one page when the request names no limit. Ours.
pub const MEMBERS_DEFAULT: u32 = 100;

/// Bytes of members in a `joined` reply, beside messages and state. Ours.
pub const MEMBERS_BYTES: usize = 16 * 1024;

/// Bytes of a reply that pages a room's state, messages and members included. Ours: below [`MAX_POST_BYTES`], since
/// route responses are billed in units of 32 KB however they are cut.
pub const STATE_REPLY_BYTES: usize = 112 * 1024;

/// Largest `seq` and `version`: the largest integer that a JavaScript number holds exactly, 2^53 - 1.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Largest row age of a connection, in seconds: API Gateway closes a WebSocket after two hours ("Amazon API Gateway
/// quotas"), and the slack covers clocks that disagree and a handshake that was slow.
pub const CONNECTION_TTL_SECONDS: u64 = 2 * 60 * 60 + 10 * 60;

/// Bytes that one message may take inside a frame. Ours: [`MAX_POST_BYTES`] less 10 KiB for the largest envelope that
/// can be around it, that of a `synced` reply of [`SYNC_ROOMS`] rooms with the longest names.
pub const MAX_MESSAGE_BYTES: usize = MAX_POST_BYTES - 10 * 1024;

/// Longest time that a message is under way before it is broadcast, in milliseconds: a day in which EventBridge tries
/// to deliver an event, and 14 days each in the event queue, the rooms' queue and the dead-letter queue, the longest
/// for which SQS keeps a message. A time of acceptance that is further back is none, but for example a producer's time
/// in seconds.
pub const MESSAGE_AGE_MS: u64 = (1 + 3 * 14) * 24 * 60 * 60 * 1000;

/// The most by which two machines' clocks may differ, in milliseconds. Ours.
pub const CLOCK_SKEW_MS: u64 = 60 * 1000;
