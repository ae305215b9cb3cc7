"""Drives a network of real processes; see tests/network.sh and tests/network_soak.sh."""

import argparse
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from partition import Partitions

VALIDATORS = 4
# A node that is down for longer than this fails the run: it hangs.
PATIENCE = 120
# Seconds that --limits allows: without a final block after a kill, from a node's start to the head, from the end of a
# partition to a final block.
GAP_MAX, REJOIN_MAX, HEAL_MAX = 2, 10, 3
# Blocks that a follower may be behind before it fetches a snapshot.
SNAPSHOT_AFTER = 50
# The contract for validators, and how it has the address 127.0.0.1.
CONTRACT, LOOPBACK = "0x4c6f636b77656176650000000000000000000001", 0xFFFF7F000001
# Blocks of an epoch, so that each fault meets the end of one.
EPOCH_BLOCKS = 25
# Seconds that a node is stopped or cut off.
AWAY = 10


def call(url, method, *params, timeout=5):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        reply = json.load(answer)
    if "error" in reply:
        raise RuntimeError(f"{method}: {reply['error']}")
    return reply["result"]


def height(url):
    return int(call(url, "eth_blockNumber"), 16)


def health(url):
    """The status and the text of a node's health page."""
    try:
        with urllib.request.urlopen(url + "/health", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def oldest_block(url):
    return int(call(url, "eth_capabilities")["blocks"]["oldestBlock"], 16)


def wait_for(what, condition, seconds=PATIENCE):
    """Waits until the condition holds; returns how long that took."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        try:
            if condition():
                return time.monotonic() - started
        except OSError:
            pass
        time.sleep(0.02)
    sys.exit(f"FAILED: {what}: not within {seconds} s")


class Network:
    """The nodes, and the commands that hold them."""

    def __init__(self, options):
        self.validator, self.work = options.validator, pathlib.Path(options.work)
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.dir = self.work / "net"
        self.holders, self.limits = [], options.limits
        init = ["--validators", str(VALIDATORS), "--followers", "1", "--epoch-blocks", str(EPOCH_BLOCKS)]
        self.command("network", "init", *init, "--dir", str(self.dir))
        names = [f"validator-{index}" for index in range(VALIDATORS)] + ["follower-0"]
        forget_addresses(self.dir / "genesis.json")
        self.partitions = Partitions(self.dir, names)
        file = self.dir / "follower-0" / "network.toml"
        text, count = re.subn(r"(?m)^snapshot-after = .*$", f"snapshot-after = {SNAPSHOT_AFTER}", file.read_text())
        if count != 1:
            sys.exit(f"FAILED: {file} has no snapshot-after")
        file.write_text(text)
        self.nodes = {}
        self.hold("network", "up", "--dir", str(self.dir), "--json")

    def command(self, *arguments, accept=(0,)):
        done = subprocess.run([self.validator, *arguments], capture_output=True, text=True, timeout=600)
        if done.returncode not in accept:
            sys.exit(f"FAILED: {' '.join(arguments)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def hold(self, *arguments):
        """Starts a command that holds nodes, and reads the line with its nodes."""
        holder = subprocess.Popen([self.validator, *arguments], stdout=subprocess.PIPE, text=True)
        self.holders.append(holder)
        line = holder.stdout.readline()
        if not line:
            sys.exit(f"FAILED: {' '.join(arguments)} printed nothing")
        for node in json.loads(line)["nodes"]:
            self.nodes[node["name"]] = node

    def start(self, name):
        started = time.monotonic()
        self.hold("network", "start", "--dir", str(self.dir), "--node", name, "--json")
        return started

    def signal(self, name, number):
        os.kill(self.nodes[name]["pid"], number)

    def kill(self, name):
        self.signal(name, signal.SIGKILL)
        wait_for(f"{name} ends", lambda: not is_running(self.nodes[name]["pid"]))

    def took(self, what, seconds, limit):
        """Says how long something took; with --limits it fails if that is too long."""
        print(f"{what}: {seconds:.2f} s (at most {limit})", flush=True)
        if self.limits and seconds > limit:
            sys.exit(f"FAILED: {what}: {seconds:.2f} s")

    def url(self, name):
        return self.nodes[name]["rpc"]

    def urls(self):
        return [node["rpc"] for node in self.nodes.values()]

    def is_at_head(self, name, others):
        return height(self.url(name)) >= max(height(self.url(other)) for other in others) - 2

    def stop(self):
        for holder in self.holders:
            if holder.poll() is None:
                holder.send_signal(signal.SIGTERM)
        for holder in self.holders:
            holder.wait(timeout=60)

    def verify(self):
        """Same hash at every height on all nodes, and sound data folders."""
        lowest = min(height(url) for url in self.urls())
        oldest = {url: oldest_block(url) for url in self.urls()}
        for number in range(lowest + 1):
            urls = [url for url in self.urls() if number >= oldest[url]]
            hashes = {call(url, "eth_getBlockByNumber", hex(number), False)["hash"] for url in urls}
            if len(hashes) != 1:
                sys.exit(f"FAILED: block {number} differs between nodes: {hashes}")
        proof = self.work / "proof.json"
        proof.write_text(json.dumps(call(self.url("follower-0"), "lockweave_getFinality", hex(lowest))))
        genesis = str(self.dir / "genesis.json")
        print(self.command("verify-certificate", "--genesis", genesis, str(proof)).splitlines()[0])
        # Blocks are still made; nodes may have a different number of them.
        self.stop()
        for name in self.nodes:
            # With a snapshot, the blocks before it cannot be checked.
            self.command("verify", "--datadir", str(self.dir / name / "data"), accept=(0, 3) if name == "follower-0" else (0,))
        print(f"{lowest} blocks are the same on {len(self.nodes)} nodes; every data folder verifies")


def forget_addresses(path):
    """Takes the nodes' addresses out of the contract for validators, so that those of the network files count.

    In a member's first slot the port has the bytes after the account, and above it is a position that is not zero. The
    second slot has the IP address.
    """
    genesis = json.loads(path.read_text())
    storage = genesis["alloc"][CONTRACT]["storage"]
    for slot, value in list(storage.items()):
        number = int(value, 16)
        if number == LOOPBACK:
            del storage[slot]
        elif 0 < number >> 176 < 256:
            storage[slot] = f"0x{number & ~(0xffff << 160):064x}"
    path.write_text(json.dumps(genesis))


def is_running(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


class Watch(threading.Thread):
    """Notes when blocks become final on a node."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url, self.times, self.ended = url, [], False
        self.start()

    def run(self):
        last = -1
        while not self.ended:
            try:
                number = height(self.url)
            except OSError:
                number = last
            if number > last:
                self.times.append(time.monotonic())
                last = number
            time.sleep(0.01)

    def longest_gap(self):
        self.ended = True
        self.join()
        return max((b - a for a, b in zip(self.times, self.times[1:])), default=0.0)


def load(options, network, seconds, rate, seed):
    """Sends transfers to all nodes; the load generator checks what became of them, to the wei."""
    arguments = ["run", "--rpc", ",".join(network.urls()), "--scenario", "transfers", "--rate", str(rate)]
    arguments += ["--duration", f"{seconds}s", "--seed", str(seed), "--senders", "64", "--drain", "60s"]
    log = open(network.work / f"load-{seed}.log", "w")
    return subprocess.Popen([options.loadgen, *arguments], stdout=log, stderr=log)


def finish(process, network, seed):
    if process.wait(timeout=600) != 0:
        text = (network.work / f"load-{seed}.log").read_text()
        sys.exit(f"FAILED: the load generator found a fault:\n{text[-3000:]}")


def short(options, network):
    others = ["validator-1", "validator-2", "validator-3"]
    sending = load(options, network, 20, 200, 1)
    wait_for("load arrives", lambda: height(network.url("validator-1")) > 20)

    watch = Watch(network.url("validator-1"))
    network.kill("validator-0")
    time.sleep(6)
    network.took("a validator was killed; longest time without a final block", watch.longest_gap(), GAP_MAX)
    started = network.start("validator-0")
    wait_for("validator-0 is at the head", lambda: network.is_at_head("validator-0", others))
    network.took("from its start to the head", time.monotonic() - started, REJOIN_MAX)
    finish(sending, network, 1)

    stop_one(network, "validator-2", ["validator-0", "validator-1", "validator-3"])
    divide(network)

    network.kill("follower-0")
    shutil.rmtree(network.dir / "follower-0" / "data")
    started = network.start("follower-0")
    wait_for("follower-0 is at the head", lambda: network.is_at_head("follower-0", others))
    network.took("from an empty follower's start to the head", time.monotonic() - started, REJOIN_MAX)
    oldest = oldest_block(network.url("follower-0"))
    if oldest == 0:
        sys.exit("FAILED: the follower fetched all blocks instead of a snapshot")
    print(f"the follower has the state after block {oldest} as a snapshot, and all blocks since")
    network.verify()


def stop_one(network, name, others):
    """A node hangs for a while."""
    before = height(network.url(others[0]))
    network.signal(name, signal.SIGSTOP)
    time.sleep(AWAY)
    network.signal(name, signal.SIGCONT)
    if height(network.url(others[0])) <= before + 1:
        sys.exit(f"FAILED: with {name} stopped nothing became final")
    took = wait_for(f"{name} is at the head", lambda: network.is_at_head(name, others))
    print(f"{name} was stopped for {AWAY} s and was at the head after {took:.2f} s", flush=True)


def divide(network):
    """Two halves cannot reach each other for a while: neither has a quorum."""
    halves = ["validator-0", "validator-1"], ["validator-2", "validator-3", "follower-0"]
    network.partitions.separate(*halves)
    # What is under way may still become final.
    time.sleep(2)
    before = [height(url) for url in network.urls()]
    time.sleep(AWAY - 2)
    if [height(url) for url in network.urls()] != before:
        sys.exit("FAILED: blocks became final without a quorum")
    for name in network.nodes:
        call(network.url(name), "eth_getBalance", "0x" + "77" * 20, "latest")
        status, reason = health(network.url(name))
        if status != 503 or "quorum" not in reason:
            sys.exit(f"FAILED: /health of {name} in a partition: {status} {reason}")
    network.partitions.heal()
    took = [wait_for("blocks become final again", lambda: height(url) > max(before)) for url in network.urls()]
    network.took("a partition without a quorum finalised nothing; from its end to a final block", sum(took), HEAL_MAX)


def soak(options, network):
    chance = random.Random(options.seed)
    print(f"seed {options.seed}")
    names = list(network.nodes)
    validators = names[:VALIDATORS]
    end = time.monotonic() + 60 * options.minutes
    done = {}
    round_number = 0
    while time.monotonic() < end:
        round_number += 1
        sending = load(options, network, 30, 200, round_number)
        while sending.poll() is None:
            what = chance.choice(["kill", "stop", "roll", "wipe", "divide", "cut"])
            done[what] = done.get(what, 0) + 1
            # Without its votes a validator may vote against itself, so only followers lose their folder.
            name = "follower-0" if what == "wipe" else chance.choice(validators)
            others = [other for other in validators if other != name]
            if what == "stop":
                stop_one(network, name, others)
            if what == "divide":
                divide(network)
            if what == "cut":
                network.partitions.separate([name], [*others, "follower-0"])
                time.sleep(AWAY)
                network.partitions.heal()
            for restarted in validators if what == "roll" else [name] if what in ("kill", "wipe") else []:
                if what == "roll":
                    network.signal(restarted, signal.SIGTERM)
                    wait_for(f"{restarted} ends", lambda: not is_running(network.nodes[restarted]["pid"]))
                else:
                    network.kill(restarted)
                if what == "wipe":
                    shutil.rmtree(network.dir / name / "data")
                network.start(restarted)
                rest = [other for other in validators if other != restarted]
                wait_for(f"{restarted} is at the head", lambda: network.is_at_head(restarted, rest))
            wait_for(f"{name} is at the head", lambda: network.is_at_head(name, others))
            time.sleep(chance.uniform(1, 5))
        finish(sending, network, round_number)
        print(f"round {round_number}: height {height(network.url(validators[0]))}, faults so far {done}", flush=True)
    network.verify()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["short", "soak"])
    parser.add_argument("--validator", required=True)
    parser.add_argument("--loadgen", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--limits", action="store_true", help="fail if something takes too long")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    network = Network(options)
    try:
        short(options, network) if options.mode == "short" else soak(options, network)
    finally:
        network.partitions.heal()
        # A node that is stopped does not end by itself.
        for node in network.nodes.values():
            if is_running(node["pid"]):
                os.kill(node["pid"], signal.SIGCONT)
        network.stop()


if __name__ == "__main__":
    main()
