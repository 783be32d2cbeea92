//! Finding a server, and connecting to it.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, TlsCertificates, Value, cmd,
};
use tokio::sync::mpsc::UnboundedSender;

use super::convert::{array, failure, invalid_answer, number, text};
use rcluster_core::store::remote::backend::{Address, Backend, Secret, Servers, Tls};
use rcluster_core::store::remote::failure::Failure;

/// Time limits for connecting, and for a short answer.
const CONNECT: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(3);

/// The time limit for an answer with large entries of a stream, which may be on a slow link. Whether the server answers at all
/// is known from the other connection.
const TRANSFER: Duration = Duration::from_secs(15);

/// How long the server waits for an entry of a stream before it answers that there is none, in ms.
const BLOCK: u64 = 1000;

/// Finds the server that stores a key.
async fn locate(backend: &Backend, key: &str) -> Result<ConnectionAddr, Failure> {
    let addresses = match &backend.servers {
        Servers::Single(address) => return Ok(tcp(backend, address)),
        Servers::Socket(path) => return Ok(ConnectionAddr::Unix(path.into())),
        Servers::Sentinel { sentinels, .. } => sentinels,
        Servers::Cluster(nodes) => nodes,
    };
    // The first answer counts. If there is none, the last failure is returned.
    let mut last = invalid_answer();
    for address in addresses {
        let asked = match &backend.servers {
            Servers::Sentinel { name, .. } => ask_sentinel(backend, address, name).await,
            _ => ask_node(backend, address, key).await,
        };
        match asked {
            Ok(found) => return Ok(found),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

/// Asks a Sentinel for the address of the primary. Sentinels are assumed to need no user and password.
async fn ask_sentinel(backend: &Backend, sentinel: &Address, name: &str) -> Result<ConnectionAddr, Failure> {
    let plain = RedisConnectionInfo::default();
    let mut connection = open_as(backend, tcp(backend, sentinel), plain, config()).await?;
    let mut ask = cmd("SENTINEL");
    ask.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let answer = ask.query_async::<Value>(&mut connection).await.map_err(|error| failure(&error))?;
    if answer == Value::Nil {
        return Err(Failure::Refused(format!("the sentinel {sentinel} knows no primary {name:?}")));
    }
    let [host, port] = array(answer).and_then(|it| it.try_into().ok()).ok_or_else(invalid_answer)?;
    address_of(host, port, &sentinel.host).map(|address| tcp(backend, &address)).ok_or_else(invalid_answer)
}

/// Asks a node of a Redis Cluster which node serves the slot of a key.
async fn ask_node(backend: &Backend, node: &Address, key: &str) -> Result<ConnectionAddr, Failure> {
    let mut connection = open(backend, tcp(backend, node)).await?;
    let ask = cmd("CLUSTER").arg("KEYSLOT").arg(key).query_async::<Value>(&mut connection).await;
    let slot = number(ask.map_err(|error| failure(&error))?).ok_or_else(invalid_answer)?;
    let ask = cmd("CLUSTER").arg("SLOTS").query_async::<Value>(&mut connection).await;
    for range in array(ask.map_err(|error| failure(&error))?).ok_or_else(invalid_answer)? {
        let mut range = array(range).ok_or_else(invalid_answer)?.into_iter();
        let mut next = || range.next().ok_or_else(invalid_answer);
        let (first, last, owner) = (next()?, next()?, next()?);
        let first = number(first).ok_or_else(invalid_answer)?;
        if !(first..=number(last).ok_or_else(invalid_answer)?).contains(&slot) {
            continue;
        }
        let mut owner = array(owner).ok_or_else(invalid_answer)?.into_iter();
        let (Some(host), Some(port)) = (owner.next(), owner.next()) else { return Err(invalid_answer()) };
        let address = address_of(host, port, &node.host).ok_or_else(invalid_answer)?;
        return Ok(tcp(backend, &address));
    }
    Err(Failure::Lost(format!("no node of the cluster has the slot {slot} of the store")))
}

/// The address in an answer. A node that does not know its own address is reached at the one used to ask it.
fn address_of(host: Value, port: Value, asked: &str) -> Option<Address> {
    let host = text(host).filter(|host| !host.is_empty() && host != "?").unwrap_or_else(|| asked.to_owned());
    Some(Address { host, port: u16::try_from(number(port)?).ok()? })
}

fn tcp(backend: &Backend, Address { host, port }: &Address) -> ConnectionAddr {
    match backend.tls {
        None => ConnectionAddr::Tcp(host.clone(), *port),
        Some(_) => {
            ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
        }
    }
}

/// The two connections to a server: one for commands, and one for blocking reads.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    pub(super) commands: MultiplexedConnection,
    changes: MultiplexedConnection,
    /// The server's SHA of the script.
    pub(super) script: String,
}

impl Connections {
    /// Connects to the server that stores `key`, and loads the script.
    pub(super) async fn open(backend: &Backend, key: &str, script: &str) -> Result<Self, Failure> {
        let address = locate(backend, key).await?;
        let mut commands = open(backend, address.clone()).await?;
        let mut changes = open(backend, address).await?;
        changes.set_response_timeout(ANSWER + Duration::from_millis(BLOCK));
        let script = cmd("SCRIPT").arg("LOAD").arg(script).query_async::<Value>(&mut commands).await;
        let script = text(script.map_err(|error| failure(&error))?).ok_or_else(invalid_answer)?;
        Ok(Self { commands, changes, script })
    }

    /// The entries that will be read may be large.
    pub(super) fn expect_large_entries(&mut self) {
        self.changes.set_response_timeout(TRANSFER);
    }

    /// Waits for entries of a stream after `place`.
    pub(super) async fn read_behind(
        &mut self,
        stream: &str,
        place: &str,
        most: usize,
    ) -> Result<Value, RedisError> {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(most).arg("BLOCK").arg(BLOCK);
        read.arg("STREAMS").arg(stream).arg(place).query_async(&mut self.changes).await
    }
}

/// The two connections for messages between machines: one for commands, and one on which the server pushes
/// publications.
#[derive(Clone)]
pub(super) struct Messenger {
    pub(super) commands: MultiplexedConnection,
    pub(super) news: MultiplexedConnection,
}

impl Messenger {
    /// Connects to the server that stores `key`. Publications go to `pushes`.
    pub(super) async fn open(
        backend: &Backend,
        key: &str,
        pushes: UnboundedSender<PushInfo>,
    ) -> Result<Self, Failure> {
        let address = locate(backend, key).await?;
        let commands = open(backend, address.clone()).await?;
        let settings = settings(backend).set_protocol(ProtocolVersion::RESP3);
        let news = open_as(backend, address, settings, config().set_push_sender(pushes)).await?;
        Ok(Self { commands, news })
    }
}

/// Connects to a server with the app's user, password and database.
async fn open(backend: &Backend, address: ConnectionAddr) -> Result<MultiplexedConnection, Failure> {
    open_as(backend, address, settings(backend), config()).await
}

fn settings(backend: &Backend) -> RedisConnectionInfo {
    let mut settings = RedisConnectionInfo::default().set_db(i64::from(backend.database));
    if let Some(username) = &backend.username {
        settings = settings.set_username(username);
    }
    if let Some(Secret(password)) = &backend.password {
        settings = settings.set_password(password);
    }
    settings
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(ANSWER))
}

async fn open_as(
    backend: &Backend,
    address: ConnectionAddr,
    settings: RedisConnectionInfo,
    config: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, Failure> {
    let info = info(address, settings)?;
    let client = match &backend.tls {
        None => Client::open(info),
        Some(tls) => {
            // A provider may have been installed before; either will do.
            let _chosen_before = rustls::crypto::ring::default_provider().install_default();
            Client::build_with_tls(info, certificates(tls))
        }
    };
    let client = client.map_err(|error| failure(&error))?;
    let opened = client.get_multiplexed_async_connection_with_config(&config).await;
    opened.map_err(|error| match failure(&error) {
        Failure::Lost(why) if backend.tls.is_some() && is_unlike_tls(&error) => Failure::Lost(format!(
            "{why}; does the server expect TLS there? Without it the URL begins with redis://"
        )),
        failure => failure,
    })
}

fn info(address: ConnectionAddr, settings: RedisConnectionInfo) -> Result<ConnectionInfo, Failure> {
    let info = address.into_connection_info().map_err(|error| failure(&error))?;
    // Newer servers refuse CLIENT SETINFO, which the library sends, if the user may not use it, and log that
    // at each connection.
    let info = info.set_redis_settings(settings.set_skip_set_lib_name());
    // Commands are small, and several may be in flight. By default the kernel would hold back each one until the server
    // has acknowledged the one before it.
    Ok(info.set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

/// Whether connecting with TLS fails as it does at a server that has none: it waits for the end of the first line, unless
/// there happens to be one in the handshake.
fn is_unlike_tls(error: &RedisError) -> bool {
    let text = error.to_string();
    error.is_timeout() || text.contains("corrupt message") || text.contains("handshake eof")
}

fn certificates(Tls { ca, cert, key }: &Tls) -> TlsCertificates {
    let client_tls = cert.as_ref().zip(key.as_ref()).map(|(cert, Secret(key))| ClientTlsConfig {
        client_cert: cert.clone().into_bytes(),
        client_key: key.clone().into_bytes(),
    });
    TlsCertificates { client_tls, root_cert: ca.clone().map(String::into_bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_does_not_wait_until_the_one_before_it_is_acknowledged() {
        let address = ConnectionAddr::Tcp("localhost".into(), 6379);
        let info = info(address, RedisConnectionInfo::default()).unwrap();
        assert!(info.tcp_settings().nodelay());
    }
}
