#!/usr/bin/env python3
"""Runs a command under a Docker seccomp profile, as the container engine would:

    confine.py PROFILE [--without NAME,NAME] -- COMMAND ARGUMENT...

Told: the profile, names to leave out of it. The filter is built by libseccomp. Only what our own profile uses of the
format is understood; anything else is an error.
"""

import ctypes
import json
import os
import platform
import sys

ALLOW = 0x7FFF0000
COMPARE = {"SCMP_CMP_EQ": 4, "SCMP_CMP_MASKED_EQ": 7}
ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}


class Argument(ctypes.Structure):
    """struct scmp_arg_cmp"""

    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def action(rule_action: str, errno: int) -> int:
    if rule_action == "SCMP_ACT_ALLOW":
        return ALLOW
    if rule_action == "SCMP_ACT_ERRNO":
        return 0x00050000 | errno
    raise ValueError(f"action {rule_action} is not understood")


def arguments(rule: dict) -> "ctypes.Array[Argument]":
    found = rule.get("args", [])
    return (Argument * len(found))(
        *(Argument(a["index"], COMPARE[a["op"]], a["value"], a.get("valueTwo", 0)) for a in found)
    )


def load(profile: dict, without: set) -> None:
    """Confines this process and what it becomes."""
    mine = ARCHITECTURES[platform.machine()]
    if mine not in [entry["architecture"] for entry in profile["archMap"]]:
        raise ValueError(f"the profile does not know {mine}")
    lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    lib.seccomp_init.restype = ctypes.c_void_p
    default = action(profile["defaultAction"], profile["defaultErrnoRet"])
    context = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(default)))
    for rule in profile["syscalls"]:
        args = arguments(rule)
        what = action(rule["action"], rule.get("errnoRet", 1))
        for name in rule["names"]:
            number = lib.seccomp_syscall_resolve_name(name.encode())
            # Names of another architecture or of a newer library have no number here; engines skip them too.
            if name in without or number < 0:
                continue
            failed = lib.seccomp_rule_add_array(context, ctypes.c_uint32(what), number, len(args), args)
            if failed:
                raise OSError(-failed, f"{name}: {os.strerror(-failed)}")
    failed = lib.seccomp_load(context)
    if failed:
        raise OSError(-failed, os.strerror(-failed))


def main(words: list) -> None:
    cut = words.index("--")
    options, command = words[:cut], words[cut + 1 :]
    without = set(options[2].split(",")) if len(options) == 3 and options[1] == "--without" else set()
    with open(options[0], encoding="utf-8") as file:
        profile = json.load(file)
    load(profile, without)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
