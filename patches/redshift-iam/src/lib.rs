//! Stands in for the crate of this name: ConnectorX's Postgres source depends on it for
//! `redshift-iam://` URLs. The original is under GPL-3.0, which the binaries of this project must not
//! link, and brings a browser's HTML and CSS parsers with it. See docs/decisions/0007.

use url::Url;

/// Never called: the project hands ConnectorX a configuration, not a URL.
///
/// # Panics
/// Always.
pub fn redshift_to_postgres(_connection_uri: impl ToString) -> Url {
    unimplemented!("redshift-iam:// sources are left out of this build")
}
