//! Gives the shared library its soname, which changes only when the C ABI breaks.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libsfu.so.0");
}
