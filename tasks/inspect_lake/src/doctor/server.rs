//! What the Postgres server and the role's session look like, and what that means.

use super::check::Finding;
use crate::text;
use invoices::Result;
use invoices::source::postgres::query_one;
use invoices::source::url::PostgresUrl;
use postgres::Client;
use postgres::config::Host;

/// The first version with the extended hash functions and partitions that the tasks ask for.
const VERSION_MIN: i32 = 120_000;
/// What a run takes at most by default: the snapshot, two readers, and one to look with.
const CONNECTIONS_NEEDED: i64 = 4;
/// A pass over a large table takes minutes.
const STATEMENT_TIMEOUT_MIN_MS: i64 = 10 * 60 * 1000;

const ASK: &str = "\
    select current_setting('server_version'), current_setting('server_version_num')::int4, \
      (select concat_ws(' ', s.version, s.cipher) from pg_stat_ssl s where s.pid = pg_backend_pid() and s.ssl), \
      pg_is_in_recovery(), r.rolname::text, r.rolsuper, r.rolconnlimit::int8, \
      current_setting('max_connections')::int8, \
      (select coalesce(sum(numbackends), 0)::int8 from pg_stat_database), \
      (select setting::int8 from pg_settings where name = 'statement_timeout'), \
      (select setting::int8 from pg_settings where name = 'max_standby_streaming_delay'), \
      current_setting('hot_standby_feedback') = 'on' \
    from pg_roles r where r.rolname = current_user";

/// Facts about server, role and session.
#[derive(Debug, Clone)]
pub struct Server {
    version: String,
    version_number: i32,
    /// Protocol and cipher; none when the connection is not encrypted.
    tls: Option<String>,
    is_replica: bool,
    role: String,
    is_superuser: bool,
    /// -1 for a role without a limit of its own.
    role_connections_max: i64,
    connections_max: i64,
    connections: i64,
    /// 0 for none.
    statement_timeout_ms: i64,
    /// How long a replica lets a read hold up its replay; -1 for ever.
    replay_wait_ms: i64,
    /// A replica that tells its primary which rows it still reads.
    has_feedback: bool,
}

impl Server {
    pub fn ask(client: &mut Client) -> Result<Self> {
        let row = query_one(client, ASK, "cannot look at the server")?;
        Ok(Self {
            version: row.get(0),
            version_number: row.get(1),
            tls: row.get(2),
            is_replica: row.get(3),
            role: row.get(4),
            is_superuser: row.get(5),
            role_connections_max: row.get(6),
            connections_max: row.get(7),
            connections: row.get(8),
            statement_timeout_ms: row.get(9),
            replay_wait_ms: row.get(10),
            has_feedback: row.get(11),
        })
    }

    pub fn connected(&self, url: &PostgresUrl) -> Finding {
        let kind = if self.is_replica { "replica" } else { "primary" };
        let detail = format!("{} as {:?}, a {kind}, PostgreSQL {}", url.name, self.role, self.version);
        if self.version_number < VERSION_MIN {
            return Finding::fail(detail, "PostgreSQL 12 or newer is needed");
        }
        if self.is_replica {
            let advice = "good, the primary has no work with it";
            return Finding { advice: Some(advice.to_owned()), ..Finding::ok(detail) };
        }
        Finding::ok(detail)
    }

    pub fn encryption(&self, url: &PostgresUrl) -> Finding {
        encryption(self.tls.as_deref(), url.verifies_server(), is_this_machine(url.config().get_hosts()))
    }

    pub fn role(&self) -> Finding {
        if self.is_superuser {
            return Finding::warn(
                format!("{:?} is a superuser", self.role),
                "use a role that may only read the table: create role invoice_reader login; grant select on the table to it",
            );
        }
        Finding::ok(format!("{:?} is an ordinary role", self.role))
    }

    pub fn connections(&self) -> Finding {
        let allowed = match self.role_connections_max {
            ..0 => self.connections_max,
            limit => limit.min(self.connections_max),
        };
        let detail = format!(
            "{} of {} in use, this role may have {allowed}; a run takes --connections and one more",
            self.connections, self.connections_max
        );
        let free = (self.connections_max - self.connections).min(allowed);
        if free < CONNECTIONS_NEEDED {
            return Finding::warn(
                detail,
                "raise max_connections or the role's connection limit, or use --connections 1",
            );
        }
        Finding::ok(detail)
    }

    pub fn statement_timeout(&self) -> Finding {
        match self.statement_timeout_ms {
            0 => Finding::ok(
                "none; a limit such as 30 minutes keeps a forgotten query from holding back vacuum",
            ),
            limit if limit < STATEMENT_TIMEOUT_MIN_MS => Finding::warn(
                format!("{} seconds", text::grouped(limit / 1000)),
                format!(
                    "a pass over a large table takes minutes: alter role {:?} set statement_timeout = '30min'",
                    self.role
                ),
            ),
            limit => Finding::ok(format!("{} minutes", text::grouped(limit / 60_000))),
        }
    }

    /// Whether a replica's replay leaves reads the time that they need; none on a primary.
    pub fn replay(&self) -> Option<Finding> {
        let (wait_ms, seconds) = (self.replay_wait_ms, self.replay_wait_ms / 1000);
        let detail = match wait_ms {
            ..0 => "replay waits for reads".to_owned(),
            _ => format!("replay cancels a read that is in its way for {} seconds", text::grouped(seconds)),
        };
        let is_enough = !(0..STATEMENT_TIMEOUT_MIN_MS).contains(&wait_ms);
        self.is_replica.then(|| match (is_enough, self.has_feedback) {
            (true, _) => Finding::ok(detail),
            (false, true) => Finding::ok(format!("{detail}, and hot_standby_feedback keeps vacuum out of it")),
            (false, false) => Finding::warn(
                detail,
                "a pass over a large table takes minutes: set max_standby_streaming_delay = '30min' on the replica, or \
                 hot_standby_feedback = on, which holds back vacuum on the primary",
            ),
        })
    }
}

fn is_this_machine(hosts: &[Host]) -> bool {
    hosts.iter().all(|host| match host {
        Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
        #[cfg(unix)]
        Host::Unix(_) => true,
    })
}

fn encryption(tls: Option<&str>, verifies: bool, is_this_machine: bool) -> Finding {
    let advice =
        "add sslmode=verify-full (and sslrootcert=FILE for an authority of your own) to the source URL";
    match tls {
        Some(cipher) if verifies => Finding::ok(format!("{cipher}, server verified")),
        Some(cipher) if is_this_machine => Finding::ok(format!("{cipher}, on this machine")),
        Some(cipher) => Finding::warn(format!("{cipher}, but anyone could claim to be this server"), advice),
        None if is_this_machine => Finding::ok("not encrypted, on this machine"),
        None => Finding::warn("the connection is not encrypted", advice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Outcome;

    fn server() -> Server {
        Server {
            version: "15.4".into(),
            version_number: 150_004,
            tls: None,
            is_replica: false,
            role: "reader".into(),
            is_superuser: false,
            role_connections_max: -1,
            connections_max: 100,
            connections: 7,
            statement_timeout_ms: 0,
            replay_wait_ms: 30_000,
            has_feedback: false,
        }
    }

    #[test]
    fn encryption_without_verification_is_not_enough_over_a_network() {
        assert_eq!(encryption(Some("TLSv1.3"), false, false).outcome, Outcome::Warn);
        assert_eq!(encryption(Some("TLSv1.3"), true, false).outcome, Outcome::Ok);
        assert_eq!(encryption(None, false, false).outcome, Outcome::Warn);
        assert_eq!(encryption(None, false, true).outcome, Outcome::Ok);
    }

    #[test]
    fn a_superuser_gets_advice() {
        assert_eq!(server().role().outcome, Outcome::Ok);
        assert_eq!(Server { is_superuser: true, ..server() }.role().outcome, Outcome::Warn);
    }

    #[test]
    fn too_few_connections_are_seen_whoever_limits_them() {
        assert_eq!(server().connections().outcome, Outcome::Ok);
        assert_eq!(Server { role_connections_max: 2, ..server() }.connections().outcome, Outcome::Warn);
        assert_eq!(Server { connections: 99, ..server() }.connections().outcome, Outcome::Warn);
    }

    #[test]
    fn a_replica_whose_replay_does_not_wait_is_pointed_out() {
        assert!(server().replay().is_none());
        let of = |replay_wait_ms, has_feedback| {
            Server { is_replica: true, replay_wait_ms, has_feedback, ..server() }.replay().unwrap().outcome
        };
        assert_eq!([of(30_000, false), of(0, false)], [Outcome::Warn; 2]);
        assert_eq!([of(30_000, true), of(1_800_000, false), of(-1, false)], [Outcome::Ok; 3]);
    }

    #[test]
    fn a_short_statement_timeout_is_pointed_out() {
        assert_eq!(server().statement_timeout().outcome, Outcome::Ok);
        assert_eq!(
            Server { statement_timeout_ms: 30_000, ..server() }.statement_timeout().outcome,
            Outcome::Warn
        );
        assert_eq!(
            Server { statement_timeout_ms: 1_800_000, ..server() }.statement_timeout().outcome,
            Outcome::Ok
        );
    }
}
