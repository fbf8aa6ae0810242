//! Which Postgres cluster a session reads. An address can lead to another one tomorrow: restored from a
//! dump, moved, upgraded, promoted. Log positions of two clusters have nothing to do with each other.

use super::postgres::query_one;
use crate::error::{Kind, Result};
use crate::lake::commit::Cluster;
use postgres::Client;

/// The timeline of a primary is in the name of the file that it writes; a replica's control file may
/// be a restart point behind, but knows how far it must at least replay.
const IDENTITY: &str = "select (select system_identifier::text from pg_control_system()), \
    case when pg_is_in_recovery() then \
      greatest((select timeline_id from pg_control_checkpoint()), \
               (select min_recovery_end_timeline from pg_control_recovery())) \
    else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int4 end";

/// System identifier and timeline; none, with a warning, where the role may not ask for them.
pub fn identify(client: &mut Client) -> Result<Option<Cluster>> {
    match query_one(client, IDENTITY, "cannot identify the source's cluster") {
        Ok(row) => Ok(Some(Cluster { system_identifier: row.get(0), timeline: row.get::<_, i32>(1) as u32 })),
        Err(error) if error.kind() == Kind::Retry => Err(error),
        Err(error) => {
            tracing::warn!(
                "a cluster that is restored or moved will not be recognised: {error}; grant execute on functions \
                 pg_control_system(), pg_control_checkpoint() and pg_control_recovery() to this role"
            );
            Ok(None)
        }
    }
}
