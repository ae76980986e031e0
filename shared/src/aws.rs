//! The set-up of every AWS client, and the error codes that mean a throttle or a refusal.

use std::{error::Error, fmt, marker::PhantomData, time::Duration};

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_sqs::{
    config::{
        interceptors::InterceptorContext,
        retry::{ClassifyRetry, RetryAction},
    },
    error::ProvideErrorMetadata,
};

/// Attempts that the SDK makes of one call, the first included.
const ATTEMPTS: u32 = 3;

/// The longest wait before the second attempt, doubled for the third, with full jitter. The SDK's own is a second, in
/// which an environment serves nobody; a throttle of DynamoDB or SQS is often over in milliseconds.
const INITIAL_BACKOFF: Duration = Duration::from_millis(50);

/// Time for one attempt of a call. DynamoDB and SQS answer in milliseconds; a call that takes this long is on a
/// dead connection, and another attempt is the cure.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

/// Time for a call with all its attempts: a route that makes two of them still answers by itself, before its function
/// times out after 15 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);

/// Loads region, credentials and endpoint from the environment, as the AWS SDKs do (`AWS_ENDPOINT_URL` included).
pub async fn sdk_config() -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build();
    let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(INITIAL_BACKOFF);
    aws_config::defaults(BehaviorVersion::latest()).retry_config(retries).timeout_config(timeouts).load().await
}

/// Whether an error code of DynamoDB, SQS or EventBridge says that a rate is exceeded. Calls and entries of batches
/// have the same codes. SQS gives some by the names of its older protocol, which have a dot.
pub(crate) fn is_throttle(code: &str) -> bool {
    matches!(
        code,
        "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequestsException"
            | "KMS.ThrottlingException"
    )
}

/// Whether an error code says that a queue or bus will never take this record: it has characters that are not allowed,
/// its body is too large, or it is no event. Calls and entries of batches have the same codes.
pub(crate) fn is_refusal(code: &str) -> bool {
    matches!(
        code,
        "InvalidMessageContents"
            | "BatchRequestTooLong"
            | "AWS.SimpleQueueService.BatchRequestTooLong"
            | "MalformedDetail"
            | "InvalidArgument"
    )
}

/// Keeps the SDK from trying a throttled call again, so that a client who waits for the reply is told at once. Other
/// errors are tried again as usual. `E` is the operation's error.
pub(crate) struct ThrottlesAreFinal<E>(PhantomData<fn(E)>);

impl<E> Default for ThrottlesAreFinal<E> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E> fmt::Debug for ThrottlesAreFinal<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ThrottlesAreFinal")
    }
}

impl<E: Error + ProvideErrorMetadata + Send + Sync + 'static> ClassifyRetry for ThrottlesAreFinal<E> {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let code = operation_error::<E>(context).and_then(ProvideErrorMetadata::code);
        if code.is_some_and(is_throttle) { RetryAction::RetryForbidden } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "throttles are final"
    }
}

/// The operation's error that an attempt ended with, if its response was read as one.
pub(crate) fn operation_error<E: Error + Send + Sync + 'static>(context: &InterceptorContext) -> Option<&E> {
    context.output_or_error()?.err()?.as_operation_error()?.downcast_ref()
}
