//! How every AWS client is set up.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};

/// Attempts that the SDK makes of one call, the first included.
const ATTEMPTS: u32 = 3;

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
    aws_config::defaults(BehaviorVersion::latest())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(timeouts)
        .load()
        .await
}
