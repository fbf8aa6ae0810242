//! Source URLs and TLS: what libpq calls `sslmode`, verified by our own connector.

use crate::error::{Error, Result};
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslFiletype, SslMethod, SslVerifyMode};
use postgres::config::SslMode;
use postgres_openssl::MakeTlsConnector;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Every session on Postgres begins with it: rows that row-level security would hide are an error
/// then, where they would otherwise be missing without a word.
pub const NO_HIDDEN_ROWS: &str = "set row_security = off";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Where Debian, Ubuntu and Alpine keep the authorities that the machine trusts.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Where the invoices are.
// One of these exists per process; its size does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone)]
pub enum SourceUrl {
    Postgres(PostgresUrl),
    Sqlite(PathBuf),
}

/// How much of the server's identity is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verify {
    Nothing,
    Authority,
    AuthorityAndName,
}

/// A parsed `postgres://` URL.
#[derive(Debug, Clone)]
pub struct PostgresUrl {
    config: postgres::Config,
    verify: Verify,
    root_certificate: Option<PathBuf>,
    client_certificate: Option<(PathBuf, PathBuf)>,
    /// Host, port and database, for messages and commit records.
    pub name: String,
    /// The user's name.
    pub user: String,
}

impl FromStr for SourceUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return Ok(Self::Sqlite(PathBuf::from(path)));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return PostgresUrl::parse(text).map(Self::Postgres);
        }
        Err(Error::config(
            "the source URL must begin with postgres:// or sqlite:, as in postgres://user@host:5432/database",
        ))
    }
}

/// Whether a URL carries a password; such a URL may come from the environment only.
pub fn has_password(text: &str) -> bool {
    ::url::Url::parse(text)
        .is_ok_and(|url| url.password().is_some() || url.query_pairs().any(|(key, _)| key == "password"))
}

/// Whether a URL of Spark Connect, `sc://host:port/;name=value;…`, carries the token that logs in.
pub fn has_token(text: &str) -> bool {
    text.starts_with("sc://") && text.split(';').any(|parameter| parameter.starts_with("token="))
}

impl PostgresUrl {
    fn parse(text: &str) -> Result<Self> {
        // The parser's own message could repeat the URL, password included.
        let malformed =
            || Error::config("the source URL can't be parsed; use postgres://user@host:5432/database");
        let mut url = ::url::Url::parse(text).map_err(|_| malformed())?;
        let mut mode = String::from("prefer");
        let (mut root, mut certificate, mut key) = (None, None, None);
        let mut others = Vec::new();
        for (name, value) in url.query_pairs().into_owned() {
            match name.as_str() {
                "sslmode" => mode = value,
                "sslrootcert" => root = Some(PathBuf::from(value)),
                "sslcert" => certificate = Some(PathBuf::from(value)),
                "sslkey" => key = Some(PathBuf::from(value)),
                _ => others.push((name, value)),
            }
        }
        url.set_query(None);
        if !others.is_empty() {
            url.query_pairs_mut().extend_pairs(others);
        }
        let mut config: postgres::Config = url.as_str().parse().map_err(|_| malformed())?;
        let (ssl_mode, verify) = match mode.as_str() {
            "disable" => (SslMode::Disable, Verify::Nothing),
            "allow" | "prefer" => (SslMode::Prefer, Verify::Nothing),
            // As in libpq, a root certificate makes `require` verify the authority.
            "require" if root.is_none() => (SslMode::Require, Verify::Nothing),
            "require" | "verify-ca" => (SslMode::Require, Verify::Authority),
            "verify-full" => (SslMode::Require, Verify::AuthorityAndName),
            other => {
                return Err(Error::config(format!(
                    "sslmode={other} is unknown; use disable, prefer, require, verify-ca or verify-full"
                )));
            }
        };
        config.ssl_mode(ssl_mode).connect_timeout(CONNECT_TIMEOUT).keepalives(true);
        if config.get_application_name().is_none() {
            config.application_name("invoice-platform");
        }
        if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        let user = config.get_user().unwrap_or_default().to_owned();
        let host = url.host_str().unwrap_or("localhost");
        let database = config.get_dbname().unwrap_or(&user).to_owned();
        let name = format!("{host}:{}/{database}", url.port().unwrap_or(5432));
        let client_certificate = certificate.zip(key);
        Ok(Self { config, verify, root_certificate: root, client_certificate, name, user })
    }

    /// The connection settings; ConnectorX gets the same ones, with [`PostgresUrl::tls`].
    pub fn config(&self) -> &postgres::Config {
        &self.config
    }

    /// Whether `sslmode` makes sure that the server is the one it was meant to be.
    pub fn verifies_server(&self) -> bool {
        self.verify == Verify::AuthorityAndName
    }

    /// A connector that verifies what `sslmode` promises.
    pub fn tls(&self) -> Result<MakeTlsConnector> {
        let mut builder = SslConnector::builder(SslMethod::tls_client())
            .map_err(|error| Error::bug("OpenSSL cannot be set up").because(error))?;
        if self.verify == Verify::Nothing {
            builder.set_verify(SslVerifyMode::NONE);
        } else {
            self.trust(&mut builder)?;
        }
        if let Some((certificate, key)) = &self.client_certificate {
            builder
                .set_certificate_file(certificate, SslFiletype::PEM)
                .and_then(|()| builder.set_private_key_file(key, SslFiletype::PEM))
                .map_err(|error| Error::config("sslcert or sslkey cannot be used").because(error))?;
        }
        let mut connector = MakeTlsConnector::new(builder.build());
        if self.verify != Verify::AuthorityAndName {
            connector.set_callback(|connection, _| {
                connection.set_verify_hostname(false);
                Ok(())
            });
        }
        Ok(connector)
    }

    fn trust(&self, builder: &mut SslConnectorBuilder) -> Result<()> {
        let system = Path::new(SYSTEM_AUTHORITIES);
        let file = match &self.root_certificate {
            Some(path) if path.as_os_str() != "system" => path.as_path(),
            _ if system.exists() => system,
            _ => return Ok(()),
        };
        builder.set_ca_file(file).map_err(|error| {
            Error::config(format!("sslrootcert {} cannot be read", file.display())).because(error)
        })
    }

    /// A new connection, which is told when a policy would hide rows from it.
    pub fn connect(&self) -> Result<postgres::Client> {
        let said = |error| {
            super::postgres::failed(&format!("cannot connect to {} as {:?}", self.name, self.user), error)
        };
        let mut client = self.config.connect(self.tls()?).map_err(said)?;
        client.batch_execute(NO_HIDDEN_ROWS).map_err(said)?;
        Ok(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_seen() {
        assert!(has_password("postgres://u:secret@h/db"));
        assert!(has_password("postgres://u@h/db?password=secret"));
        assert!(!has_password("postgres://u@h/db?sslmode=require"));
    }

    #[test]
    fn tokens_in_urls_of_spark_connect_are_seen() {
        assert!(has_token("sc://h:15002/;use_ssl=true;token=secret"));
        assert!(!has_token("sc://token=h:15002/;use_ssl=true"));
        assert!(!has_token("https://h/;token=other"));
    }

    #[test]
    fn errors_never_repeat_a_password() {
        for text in
            ["postgres://u:secret@[bad/db", "postgres://u:secret@h:99999999/db", "mysql://u:secret@h/db"]
        {
            let error = text.parse::<SourceUrl>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn unknown_sslmode_is_refused() {
        let error = "postgres://u@h/db?sslmode=verify_full".parse::<SourceUrl>().unwrap_err();
        assert!(error.to_string().contains("verify-full"), "{error}");
    }
}
