//! An engine whose control group has no memory left: what is new is refused, and what is there goes on.

mod support;

use std::path::Path;

use sfu_core::command::{Command, CommandError, ErrorCode, Reply};
use sfu_runtime::{IoBackend, ListenInfo, Runtime, RuntimeOptions, ShardRequest};
use sfu_wire::id::ObjectId;
use support::house::created;
use support::{ask, options, request};

const MIB: u64 = 1 << 20;

/// As if the machine had so much, in either version of control groups.
fn use_memory(root: &Path, used: u64) {
    std::fs::create_dir_all(root.join("memory")).unwrap();
    for (file, value) in [
        ("memory.max", 512 * MIB),
        ("memory.current", used),
        ("memory/memory.limit_in_bytes", 512 * MIB),
        ("memory/memory.usage_in_bytes", used),
    ] {
        std::fs::write(root.join(file), value.to_string()).unwrap();
    }
}

#[test]
fn row_091_an_engine_without_memory_refuses_what_is_new_and_goes_on_with_what_there_is() {
    let root = std::env::temp_dir().join(format!("sfu-no-memory-{}", std::process::id()));
    use_memory(&root, 100 * MIB);
    let options = RuntimeOptions { cgroups: root.clone(), ..options(1, IoBackend::Default) };
    let runtime = Runtime::start(options).unwrap();
    let do_it = |command| ask(&runtime, 0, request(1, command));
    let server = || {
        let listen = vec![ListenInfo::udp([127, 0, 0, 1].into())];
        ask(&runtime, 0, ShardRequest { token: 1, listen, command: Command::CreateWebRtcServer })
    };
    let router = created(&do_it(Command::CreateRouter).unwrap());
    let first = created(&server().unwrap());

    use_memory(&root, 505 * MIB);
    let refused = |result: Result<Reply, CommandError>| {
        let error = result.unwrap_err();
        assert_eq!(error.code, ErrorCode::ResourceExhausted);
        assert!(error.text.contains("505 of the 512 MiB") && error.text.contains("raise"), "{}", error.text);
    };
    refused(do_it(Command::CreateRouter));
    refused(server());
    refused(do_it(Command::CreateDirectTransport { router, max_incoming_bitrate: 0 }));
    let dump = |object: ObjectId| do_it(Command::Dump { object });
    assert!(dump(router).is_ok() && dump(first).is_ok(), "what is there is there");
    assert_eq!(do_it(Command::Close { object: first }), Ok(Reply::Done), "and can be closed, which gives room");

    use_memory(&root, 300 * MIB);
    do_it(Command::CreateDirectTransport { router, max_incoming_bitrate: 0 }).unwrap();
    server().unwrap();
    std::fs::remove_dir_all(&root).unwrap();
    do_it(Command::CreateRouter).expect("where there is no limit, nothing is refused");
}
