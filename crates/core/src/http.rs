//! The HTTP listener for probes and metrics: requests and responses.
//!
//! It serves only GET and HEAD, only a few paths, and no request bodies. Clients are not trusted: their input
//! is limited, and invalid requests are refused.

mod accept;
mod address;
mod request;
mod response;
mod route;

pub use self::accept::Format;
pub use self::address::Address;
pub use self::request::{HostRule, MAX_HEAD, Parsed, Request, parse};
pub use self::response::{Response, http_date};
pub use self::route::Route;
