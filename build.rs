//! Passes the linker options of a Node-API module to cargo.

fn main() {
    napi_build::setup();
}
