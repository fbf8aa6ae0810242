//! A Hive metastore, by its own protocol: Thrift without TLS or Kerberos, for a private network.

use super::Catalog;
use super::hive_types::{Refusal, found, partition, thrift_table};
use super::table::{Found, Table};
use hive_metastore::{
    AddPartitionsRequest, Database, DropPartitionsRequest, GetTableRequest, RequestPartsSpec,
    ThriftHiveMetastoreClient, ThriftHiveMetastoreClientBuilder,
};
use invoices::{Error, Result};
use pilota::FastStr;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;
use volo_thrift::codec::default::DefaultMakeCodec;
use volo_thrift::{ApplicationExceptionKind, ClientError, MaybeException};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The metastore looks at the folder of every partition that it is given: on S3, some requests each.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// What Thrift calls no limit.
const ALL: i16 = -1;

pub struct Hive {
    client: ThriftHiveMetastoreClient,
    place: String,
    database: FastStr,
}

impl Hive {
    /// # Errors
    /// Retry when nothing answers there.
    pub async fn connect(host: &str, port: u16, database: &str) -> Result<Self> {
        let place = format!("thrift://{host}:{port}");
        let host = host.to_owned();
        let reached = tokio::task::spawn_blocking(move || reach(&host, port)).await;
        let address = reached
            .map_err(|error| Error::bug("a thread has ended early").because(error))?
            .map_err(|error| {
                Error::retry(format!(
                    "the Hive metastore {place} does not answer; check --catalog and start it"
                ))
                .because(error)
            })?;
        let client = ThriftHiveMetastoreClientBuilder::new("hive-metastore")
            .address(address)
            .connect_timeout(Some(CONNECT_TIMEOUT))
            .rpc_timeout(None)
            .read_write_timeout(Some(CALL_TIMEOUT))
            .make_codec(DefaultMakeCodec::buffered())
            .build();
        Ok(Self { client, place, database: database.to_owned().into() })
    }

    /// Waits for an answer, which may be a refusal.
    async fn ask<T, E: Into<Refusal>>(
        &self,
        call: impl Future<Output = Result<MaybeException<T, E>, ClientError>>,
    ) -> Result<Result<T, Refusal>> {
        let place = &self.place;
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(MaybeException::Ok(answer))) => Ok(Ok(answer)),
            Ok(Ok(MaybeException::Exception(exception))) => Ok(Err(exception.into())),
            Ok(Err(ClientError::Transport(error))) => {
                let sentence = format!("the connection to the Hive metastore {place} has ended");
                Err(Error::retry(sentence).because(said(&error)))
            }
            Ok(Err(ClientError::Application(error)))
                if error.kind() != ApplicationExceptionKind::UNKNOWN_METHOD =>
            {
                Err(Error::retry(format!("the Hive metastore {place} has failed inside"))
                    .because(said(&error)))
            }
            Ok(Err(error)) => {
                let sentence = format!(
                    "what answers at {place} is not a Hive metastore that speaks plain Thrift; check --catalog"
                );
                Err(Error::config(sentence).because(said(&error)))
            }
            Err(_) => {
                let seconds = CALL_TIMEOUT.as_secs();
                Err(Error::retry(format!("the Hive metastore {place} has not answered for {seconds} s")))
            }
        }
    }

    fn refused(&self, what: &str, refusal: Refusal) -> Error {
        refusal.into_error(&format!("the Hive metastore {} cannot {what}", self.place))
    }
}

/// The client adds all that it knows of a call to what it says.
fn said(error: &impl Display) -> String {
    let text = error.to_string();
    let end = [", cx: ", ", rpc_info: "].iter().filter_map(|sign| text.find(sign)).min();
    text[..end.unwrap_or(text.len())].to_owned()
}

/// The first of a host's addresses that takes a connection.
fn reach(host: &str, port: u16) -> std::io::Result<SocketAddr> {
    let mut outcome = Err(std::io::Error::other("the host has no address"));
    for address in (host, port).to_socket_addrs()? {
        outcome = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).map(|_| address);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

impl Catalog for Hive {
    async fn make_database(&self) -> Result<()> {
        let name = &self.database;
        match self.ask(self.client.get_database(name.clone())).await? {
            Err(Refusal::Missing(_)) => {}
            outcome => {
                return outcome.map(drop).map_err(|refusal| self.refused("name its databases", refusal));
            }
        }
        let database = Database {
            name: Some(name.clone()),
            description: Some("The tables of an invoice platform's lake".into()),
            parameters: Some(Default::default()),
            ..Default::default()
        };
        match self.ask(self.client.create_database(database)).await? {
            Ok(()) | Err(Refusal::Exists(_)) => Ok(()),
            Err(refusal) => Err(self.refused(&format!("make the database {name}"), refusal)),
        }
    }

    async fn find(&self, table: &str) -> Result<Option<Found>> {
        let request = GetTableRequest {
            db_name: self.database.clone(),
            tbl_name: table.to_owned().into(),
            capabilities: None,
        };
        match self.ask(self.client.get_table_req(request)).await? {
            Ok(answer) => Ok(Some(found(answer.table))),
            Err(Refusal::Missing(_)) => Ok(None),
            Err(refusal) => Err(self.refused(&format!("describe {table}"), refusal)),
        }
    }

    async fn create(&self, table: &Table) -> Result<()> {
        let outcome = self.ask(self.client.create_table(thrift_table(table, &self.database))).await?;
        outcome.map_err(|refusal| self.refused(&format!("make the table {}", table.name), refusal))
    }

    async fn forget(&self, table: &str) -> Result<()> {
        let (database, name) = (self.database.clone(), table.to_owned().into());
        match self.ask(self.client.drop_table(database, name, false)).await? {
            Ok(()) | Err(Refusal::Missing(_)) => Ok(()),
            Err(refusal) => Err(self.refused(&format!("forget the table {table}"), refusal)),
        }
    }

    async fn partitions(&self, table: &str) -> Result<BTreeSet<String>> {
        let (database, name) = (self.database.clone(), table.to_owned().into());
        let names = self.ask(self.client.get_partition_names(database, name, ALL)).await?;
        let names =
            names.map_err(|refusal| self.refused(&format!("list the partitions of {table}"), refusal))?;
        Ok(names.into_iter().map(String::from).collect())
    }

    async fn add(&self, table: &Table, partitions: &[String]) -> Result<()> {
        let request = AddPartitionsRequest {
            db_name: self.database.clone(),
            tbl_name: table.name.into(),
            parts: partitions.iter().map(|name| partition(table, &self.database, name)).collect(),
            // Somebody may be registering the same.
            if_not_exists: true,
            need_result: Some(false),
            cat_name: None,
        };
        let outcome = self.ask(self.client.add_partitions_req(request)).await?;
        outcome
            .map(drop)
            .map_err(|refusal| self.refused(&format!("add partitions to {}", table.name), refusal))
    }

    async fn remove(&self, table: &str, partitions: &[String]) -> Result<()> {
        let names = partitions.iter().map(|name| FastStr::from(name.clone())).collect();
        let request = DropPartitionsRequest {
            db_name: self.database.clone(),
            tbl_name: table.to_owned().into(),
            parts: RequestPartsSpec::Names(names),
            delete_data: Some(false),
            if_exists: Some(true),
            ignore_protection: None,
            environment_context: None,
            need_result: Some(false),
            cat_name: None,
        };
        match self.ask(self.client.drop_partitions_req(request)).await? {
            Ok(_) | Err(Refusal::Missing(_)) => Ok(()),
            Err(refusal) => Err(self.refused(&format!("remove partitions of {table}"), refusal)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_knows_of_a_call_is_no_part_of_a_sentence() {
        assert_eq!(
            said(&"invalid version: first byte: 72, cx: ClientContext(RpcCx {})"),
            "invalid version: first byte: 72"
        );
        assert_eq!(said(&"an unexpected end of file, rpc_info: RpcInfo {}"), "an unexpected end of file");
        assert_eq!(said(&"connection reset"), "connection reset");
    }
}
