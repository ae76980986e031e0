//! Configuration of the real AWS SDKs for an endpoint of the tests.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;

/// The configuration for `aws_sdk_sqs::Client::new(&sdk_config(url))` and other clients: this endpoint, the region
/// `us-east-1` and the credentials `test`/`test`, which the local stack takes for its root user. Retries and timeouts
/// are the SDK's own.
pub fn sdk_config(endpoint_url: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(endpoint_url)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}
