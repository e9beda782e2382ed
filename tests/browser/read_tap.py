"""Reads a pcapng file with dpkt, a reader that shares nothing with its writer, and prints what is in it as JSON: of each
packet its direction, ports, kind and what the RTP header says."""

import json
import struct
import sys

import dpkt

LINKTYPE_RAW = 101


def main(path: str) -> None:
    packets = []
    with open(path, "rb") as file:
        reader = dpkt.pcapng.Reader(file)
        assert reader.datalink() == LINKTYPE_RAW, reader.datalink()
        last = 0.0
        for at, frame in reader:
            assert at >= last > -1, "times go forward"
            last = at
            ip = dpkt.ip.IP(frame)
            # The checksum was written by the engine; dpkt computes it anew when it is taken out.
            written, ip.sum = ip.sum, 0
            assert dpkt.ip.IP(bytes(ip)).sum == written, "IP checksum"
            udp = ip.data
            assert isinstance(udp, dpkt.udp.UDP) and udp.ulen == 8 + len(udp.data)
            rtp = bytes(udp.data)
            is_rtcp = 192 <= rtp[1] <= 223
            fact = {"at": at, "from": udp.sport, "to": udp.dport, "rtcp": is_rtcp, "bytes": len(rtp)}
            if not is_rtcp:
                packet = dpkt.rtp.RTP(rtp)
                fact |= {"ssrc": packet.ssrc, "sequence": packet.seq, "timestamp": packet.ts, "type": packet.pt}
                assert struct.unpack(">I", rtp[8:12])[0] == packet.ssrc
                fact["payload"] = rtp[-40:].hex()
            packets.append(fact)
    json.dump(packets, sys.stdout)


main(sys.argv[1])
