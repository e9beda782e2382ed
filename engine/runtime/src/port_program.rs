//! The program that brings each datagram of a shared port to the shard that owns its 5-tuple.
//!
//! Told: how many shards there are, and which peers' addresses belong to which. Tells: a program of the kernel's classic
//! packet filter (SO_ATTACH_REUSEPORT_CBPF, no privilege needed), whose answer is a socket's place in its group:
//! 1. a connectivity check with USERNAME as its first attribute goes by the tag of the username fragment
//!    ([`sfu_core::shared_port`]);
//! 2. everything else goes by the peer's address and port, looked up in a [`Table`];
//! 3. what neither tells goes by the kernel's own hash: the answer then is a place that nobody has.
//!
//! The program has no data but its constants, so the table's words are the leaves of binary trees of comparisons. It decides
//! nothing but where a datagram is read: the shard that reads one that is not its own hands it over.
//!
//! Limits: 4,096 instructions (BPF_MAXINSNS), and what the kernel's `net.core.optmem_max` lets a program weigh. RFC 8489,
//! sections 5 and 14; RFC 791 and RFC 8200 for where the addresses are. IPv6 extension headers and encapsulation are left
//! out: what has them goes by the kernel's hash.

use std::net::{IpAddr, SocketAddr};

use sfu_core::lookup::UFRAG_LEN;
use sfu_core::shared_port::TAG_ZERO;

use crate::retrieval::{MIX, PART_SALT, SPREAD, Table, fields_per_word, hash};

/// BPF_MAXINSNS.
const MAX_INSTRUCTIONS: usize = 4_096;
/// Instructions of a word: a comparison, the word, and a jump to what follows.
const PER_WORD: usize = 3;
/// All instructions that are no words, generously.
const FRAME: usize = 256;
/// Words that fit into the longest program.
pub(crate) const MAX_WORDS: usize = (MAX_INSTRUCTIONS - FRAME) / PER_WORD;
/// A place in the group that nobody has.
const NOBODY: u32 = u32::MAX;
/// Offsets below this are from the network header (SKF_NET_OFF).
const NETWORK: u32 = (-0x10_0000_i32) as u32;
/// How often another seed is tried.
const SEEDS: u32 = 64;

/// One instruction: `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    operand: u32,
}

// Codes, as in linux/bpf_common.h: class, size or operation, mode or source.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_LEN: u16 = 0x80;
const LOAD_CONSTANT: u16 = 0x00;
const LOAD_SCRATCH: u16 = 0x60;
const LOAD_SCRATCH_X: u16 = 0x61;
const STORE: u16 = 0x02;
const ADD_X: u16 = 0x0c;
const SUBTRACT: u16 = 0x14;
const MULTIPLY: u16 = 0x24;
const DIVIDE: u16 = 0x34;
const AND: u16 = 0x54;
const SHIFT_LEFT: u16 = 0x64;
const SHIFT_RIGHT: u16 = 0x74;
const SHIFT_RIGHT_X: u16 = 0x7c;
const MODULO: u16 = 0x94;
const XOR: u16 = 0xa4;
const XOR_X: u16 = 0xac;
const A_TO_X: u16 = 0x07;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_ABOVE: u16 = 0x25;
const IF_AT_LEAST: u16 = 0x35;
const RETURN_CONSTANT: u16 = 0x06;
const RETURN_A: u16 = 0x16;

/// Scratch words.
const HASH: u32 = 0;
const FIELD: u32 = 1;
const VALUE: u32 = 2;
const HIGH: u32 = 3;

/// The words of a peer's address that are hashed: as they are in the headers.
fn key(remote: SocketAddr) -> ([u32; 5], usize) {
    let port = u32::from(remote.port());
    match remote.ip() {
        IpAddr::V4(ip) => ([ip.to_bits(), port, 0, 0, 0], 2),
        IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            let word = |n: u32| (bits >> (96 - 32 * n)) as u32;
            ([word(0), word(1), word(2), word(3), port], 5)
        }
    }
}

/// A program, and how many of the peers it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortProgram {
    pub(crate) instructions: Vec<Instruction>,
    pub(crate) peers: usize,
}

/// Bits that name one of so many shards.
fn bits_for(shards: usize) -> u32 {
    usize::BITS - (shards.max(2) - 1).leading_zeros()
}

impl PortProgram {
    /// Makes the program. Of more peers than fit into `max_words`, it knows the first ones. `seed` keeps strangers from choosing
    /// addresses that collide.
    pub(crate) fn new(shards: usize, peers: &[(SocketAddr, u8)], max_words: usize, seed: u32) -> Self {
        let bits = bits_for(shards);
        let known = &peers[..peers.len().min(Table::keys_for(max_words.min(MAX_WORDS), bits))];
        let made = (0..SEEDS).find_map(|n| {
            let seed = seed.wrapping_add(n.wrapping_mul(SPREAD));
            let hashed = |(remote, shard): &(SocketAddr, u8)| {
                let (words, len) = key(*remote);
                (hash(seed, &words[..len]), *shard)
            };
            Some((Table::build(&known.iter().map(hashed).collect::<Vec<_>>(), bits)?, seed))
        });
        let mut program = Assembler { code: Vec::new() };
        program.check(shards);
        let known = match made {
            Some((table, seed)) if !known.is_empty() => {
                program.peer(&table, seed);
                known.len()
            }
            _ => {
                program.put(RETURN_CONSTANT, NOBODY);
                0
            }
        };
        debug_assert!(program.code.len() <= MAX_INSTRUCTIONS);
        Self { instructions: program.code, peers: known }
    }
}

struct Assembler {
    code: Vec<Instruction>,
}

impl Assembler {
    fn put(&mut self, code: u16, operand: u32) {
        self.code.push(Instruction { code, jump_true: 0, jump_false: 0, operand });
    }

    /// Skips `yes` or `no` instructions.
    fn branch(&mut self, code: u16, operand: u32, yes: u8, no: u8) {
        self.code.push(Instruction { code, jump_true: yes, jump_false: no, operand });
    }

    /// Goes by the kernel's hash unless the comparison holds.
    fn require(&mut self, code: u16, operand: u32) {
        self.branch(code, operand, 1, 0);
        self.put(RETURN_CONSTANT, NOBODY);
    }

    /// Goes by the kernel's hash if the comparison holds.
    fn refuse(&mut self, code: u16, operand: u32) {
        self.branch(code, operand, 0, 1);
        self.put(RETURN_CONSTANT, NOBODY);
    }

    /// Connectivity checks. What is no STUN goes on behind.
    fn check(&mut self, shards: usize) {
        // A load beyond the end would end the program with the first shard as answer.
        self.put(LOAD_LEN, 0);
        self.require(IF_AT_LEAST, 1);
        self.put(LOAD_BYTE, 0);
        let around = self.code.len();
        self.branch(IF_ABOVE, 3, 0, 0);
        self.put(LOAD_LEN, 0);
        self.require(IF_AT_LEAST, 24 + UFRAG_LEN as u32);
        for (size, at, wanted) in [(LOAD_HALF, 0, 0x0001), (LOAD_WORD, 4, 0x2112_a442), (LOAD_HALF, 20, 0x0006)] {
            self.put(size, at);
            self.require(IF_EQUAL, wanted);
        }
        self.put(LOAD_BYTE, 24);
        self.put(SUBTRACT, u32::from(TAG_ZERO));
        self.refuse(IF_ABOVE, 15);
        self.put(SHIFT_LEFT, 4);
        self.put(STORE, HIGH);
        self.put(LOAD_BYTE, 25);
        self.put(SUBTRACT, u32::from(TAG_ZERO));
        self.refuse(IF_ABOVE, 15);
        self.put(LOAD_SCRATCH_X, HIGH);
        self.put(ADD_X, 0);
        self.refuse(IF_AT_LEAST, shards as u32);
        self.put(RETURN_A, 0);
        self.code[around].jump_true = (self.code.len() - around - 1) as u8;
    }

    /// Everything else.
    fn peer(&mut self, table: &Table, seed: u32) {
        self.put(LOAD_BYTE, NETWORK);
        self.put(SHIFT_RIGHT, 4);
        let version = self.code.len();
        self.branch(IF_EQUAL, 4, 0, 0);
        // IPv6, and UDP right behind its header.
        self.require(IF_EQUAL, 6);
        self.put(LOAD_BYTE, NETWORK + 6);
        self.require(IF_EQUAL, libc::IPPROTO_UDP as u32);
        self.put(LOAD_CONSTANT, seed);
        self.put(STORE, HASH);
        for word in 0..4 {
            self.hash_in(LOAD_WORD, NETWORK + 8 + 4 * word);
        }
        self.hash_in(LOAD_HALF, NETWORK + 40);
        let hashed = self.code.len();
        self.put(JUMP, 0);
        self.code[version].jump_true = (self.code.len() - version - 1) as u8;
        // IPv4 without options.
        self.put(LOAD_BYTE, NETWORK);
        self.require(IF_EQUAL, 0x45);
        self.put(LOAD_CONSTANT, seed);
        self.put(STORE, HASH);
        self.hash_in(LOAD_WORD, NETWORK + 12);
        self.hash_in(LOAD_HALF, NETWORK + 20);
        self.land(hashed);
        self.look_up(table);
    }

    /// Hashes a piece of the packet in, as [`hash`] does.
    fn hash_in(&mut self, size: u16, at: u32) {
        self.put(size, at);
        self.put(LOAD_SCRATCH_X, HASH);
        self.put(XOR_X, 0);
        self.put(MULTIPLY, SPREAD);
        self.fold(15);
        self.put(STORE, HASH);
    }

    /// A ^= A >> by
    fn fold(&mut self, by: u32) {
        self.put(A_TO_X, 0);
        self.put(SHIFT_RIGHT, by);
        self.put(XOR_X, 0);
    }

    fn look_up(&mut self, table: &Table) {
        let per_word = fields_per_word(table.bits);
        self.put(LOAD_CONSTANT, 0);
        self.put(STORE, VALUE);
        for (part, words) in table.words.chunks_exact(table.words.len() / 3).enumerate() {
            self.put(LOAD_SCRATCH, HASH);
            self.put(XOR, PART_SALT[part]);
            self.put(MULTIPLY, MIX[0]);
            self.fold(15);
            self.put(MULTIPLY, MIX[1]);
            self.fold(16);
            self.put(MODULO, table.part_fields());
            self.put(STORE, FIELD);
            self.put(DIVIDE, per_word);
            let mut ends = Vec::with_capacity(words.len());
            self.tree(words, 0, &mut ends);
            for end in ends {
                self.land(end);
            }
            // The word, shifted by the field's place in it.
            self.put(STORE, HIGH);
            self.put(LOAD_SCRATCH, FIELD);
            self.put(MODULO, per_word);
            self.put(MULTIPLY, table.bits);
            self.put(A_TO_X, 0);
            self.put(LOAD_SCRATCH, HIGH);
            self.put(SHIFT_RIGHT_X, 0);
            self.put(LOAD_SCRATCH_X, VALUE);
            self.put(XOR_X, 0);
            self.put(STORE, VALUE);
        }
        self.put(AND, (1 << table.bits) - 1);
        self.put(RETURN_A, 0);
    }

    /// Loads `words[A - first]`; `ends` are jumps to what follows.
    fn tree(&mut self, words: &[u32], first: u32, ends: &mut Vec<usize>) {
        if let [word] = words {
            self.put(LOAD_CONSTANT, *word);
            ends.push(self.code.len());
            self.put(JUMP, 0);
            return;
        }
        let (low, high) = words.split_at(words.len() / 2);
        let middle = first + low.len() as u32;
        let at = self.code.len();
        // A comparison jumps at most 255 instructions far; beyond that, it jumps to a jump.
        let far = low.len() * PER_WORD > 200;
        self.branch(IF_AT_LEAST, middle, 0, u8::from(far));
        if far {
            self.put(JUMP, 0);
        }
        self.tree(low, first, ends);
        if far {
            self.land(at + 1);
        } else {
            self.code[at].jump_true = (self.code.len() - at - 1) as u8;
        }
        self.tree(high, middle, ends);
    }

    /// The jump at this place leads here.
    fn land(&mut self, jump: usize) {
        self.code[jump].operand = (self.code.len() - jump - 1) as u32;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use sfu_core::shared_port::tag;

    /// A packet as the program sees it: network header and payload.
    struct Packet {
        network: Vec<u8>,
        payload: Vec<u8>,
    }

    impl Packet {
        fn from(remote: SocketAddr, payload: &[u8]) -> Self {
            let mut network = match remote.ip() {
                IpAddr::V4(ip) => {
                    let mut header = vec![0x45; 12];
                    header.extend(ip.octets());
                    header.extend([127, 0, 0, 1]);
                    header
                }
                IpAddr::V6(ip) => {
                    let mut header = vec![0x60, 0, 0, 0, 0, 0, libc::IPPROTO_UDP as u8, 64];
                    header.extend(ip.octets());
                    header.extend([0; 16]);
                    header
                }
            };
            network.extend(remote.port().to_be_bytes());
            network.extend([0; 6]);
            Self { network, payload: payload.to_vec() }
        }

        fn load(&self, at: u32, len: usize) -> Option<u32> {
            let (bytes, at) = match at.checked_sub(NETWORK) {
                Some(at) => (&self.network, at),
                None => (&self.payload, at),
            };
            let bytes = bytes.get(at as usize..at as usize + len)?;
            Some(bytes.iter().fold(0, |all, byte| all << 8 | u32::from(*byte)))
        }
    }

    /// What the kernel would do (Documentation/networking/filter.rst).
    fn run(code: &[Instruction], packet: &Packet) -> u32 {
        let (mut a, mut x, mut scratch, mut at) = (0_u32, 0_u32, [0_u32; 16], 0);
        loop {
            let Instruction { code: op, jump_true, jump_false, operand: k } = code[at];
            at += 1;
            let jump = |yes: bool| usize::from(if yes { jump_true } else { jump_false });
            match op {
                LOAD_WORD | LOAD_HALF | LOAD_BYTE => {
                    let len = match op {
                        LOAD_WORD => 4,
                        LOAD_HALF => 2,
                        _ => 1,
                    };
                    let Some(value) = packet.load(k, len) else { return 0 };
                    a = value;
                }
                LOAD_LEN => a = packet.payload.len() as u32,
                LOAD_CONSTANT => a = k,
                LOAD_SCRATCH => a = scratch[k as usize],
                LOAD_SCRATCH_X => x = scratch[k as usize],
                STORE => scratch[k as usize] = a,
                ADD_X => a = a.wrapping_add(x),
                SUBTRACT => a = a.wrapping_sub(k),
                MULTIPLY => a = a.wrapping_mul(k),
                DIVIDE => a /= k,
                AND => a &= k,
                SHIFT_LEFT => a <<= k,
                SHIFT_RIGHT => a >>= k,
                SHIFT_RIGHT_X => a >>= x,
                MODULO => a %= k,
                XOR => a ^= k,
                XOR_X => a ^= x,
                A_TO_X => x = a,
                JUMP => at += k as usize,
                IF_EQUAL => at += jump(a == k),
                IF_ABOVE => at += jump(a > k),
                IF_AT_LEAST => at += jump(a >= k),
                RETURN_CONSTANT => return k,
                RETURN_A => return a,
                other => panic!("{other:#x} is no instruction of ours"),
            }
        }
    }

    pub(crate) fn check_for(shard: u8) -> Vec<u8> {
        let mut ufrag = *b"xxcdefghijklmnop";
        tag(shard, &mut ufrag);
        let mut check = vec![0, 1, 0, 24, 0x21, 0x12, 0xa4, 0x42];
        check.extend([7; 12]);
        check.extend([0, 6, 0, 18]);
        check.extend(ufrag);
        check.extend(b":y\0\0");
        check
    }

    fn peers(count: usize, shards: usize) -> Vec<(SocketAddr, u8)> {
        let addr = |n: usize| -> SocketAddr {
            match n % 3 {
                0 => (std::net::Ipv6Addr::from(0x2001_0db8_u128 << 96 | n as u128), 5_000).into(),
                _ => ([198, 51, (n / 20_000) as u8, 7], 20_000 + (n % 20_000) as u16).into(),
            }
        };
        (0..count).map(|n| (addr(n), (n % shards) as u8)).collect()
    }

    #[test]
    fn every_peer_comes_to_its_shard_and_checks_go_by_their_tag() {
        for shards in [2, 3, 16, 200] {
            for count in [0, 1, 5, 300, 3_000] {
                let peers = peers(count, shards);
                let program = PortProgram::new(shards, &peers, MAX_WORDS, 99);
                assert!(program.instructions.len() <= MAX_INSTRUCTIONS);
                assert_eq!(program.peers, count, "{shards} shards");
                for (remote, shard) in &peers {
                    for payload in [&[0x80, 96, 0, 1][..], &[22], &[200; 40]] {
                        let place = run(&program.instructions, &Packet::from(*remote, payload));
                        assert_eq!(place, u32::from(*shard), "{remote} of {count}");
                    }
                }
                let stranger = "203.0.113.9:1".parse().unwrap();
                for shard in 0..shards as u8 {
                    let check = Packet::from(stranger, &check_for(shard));
                    assert_eq!(run(&program.instructions, &check), u32::from(shard));
                }
                let beyond = Packet::from(stranger, &check_for(shards as u8));
                assert_eq!(run(&program.instructions, &beyond), NOBODY, "no shard has that tag");
            }
        }
    }

    #[test]
    fn what_is_cut_off_or_malformed_goes_by_the_kernels_hash() {
        let program = PortProgram::new(2, &peers(10, 2), MAX_WORDS, 5).instructions;
        let stranger = "203.0.113.9:1".parse().unwrap();
        assert_eq!(run(&program, &Packet::from(stranger, &[])), NOBODY);
        let check = check_for(1);
        for len in 1..check.len() {
            let place = run(&program, &Packet::from(stranger, &check[..len]));
            assert_eq!(place, if len < 24 + UFRAG_LEN { NOBODY } else { 1 }, "{len} bytes");
        }
        for (at, value) in [(1, 2), (4, 0), (21, 7), (24, b'Q'), (25, b'0')] {
            let mut other = check.clone();
            other[at] = value;
            assert_eq!(run(&program, &Packet::from(stranger, &other)), NOBODY, "byte {at}");
        }
        let mut options = Packet::from("198.51.0.7:20001".parse().unwrap(), &[0x80; 20]);
        options.network[0] = 0x46;
        assert_eq!(run(&program, &options), NOBODY);
        options.network[0] = 0x75;
        assert_eq!(run(&program, &options), NOBODY);
    }

    #[test]
    fn ten_thousand_peers_of_two_shards_fit_and_of_more_than_fit_the_first_are_known() {
        let many = peers(10_000, 2);
        assert_eq!(PortProgram::new(2, &many, MAX_WORDS, 3).peers, 10_000);
        let small = PortProgram::new(2, &many, 60, 3);
        assert!(small.peers > 1_000 && small.peers < 2_000, "{}", small.peers);
        for (remote, shard) in &many[..small.peers] {
            assert_eq!(run(&small.instructions, &Packet::from(*remote, &[0x80])), u32::from(*shard));
        }
        let longest = PortProgram::new(256, &peers(100_000, 255), MAX_WORDS, 3);
        assert!(longest.peers > 3_500 && longest.instructions.len() <= MAX_INSTRUCTIONS, "{}", longest.peers);
    }
}
