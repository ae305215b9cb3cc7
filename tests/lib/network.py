"""Drives a network of real processes; see tests/network.sh and tests/network_soak.sh."""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request

VALIDATORS = 4
# A node that is down for longer than this fails the run: it hangs.
PATIENCE = 120


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
        self.holders = []
        self.command("network", "init", "--validators", str(VALIDATORS), "--followers", "1", "--dir", str(self.dir))
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
        for number in range(lowest + 1):
            hashes = {call(url, "eth_getBlockByNumber", hex(number), False)["hash"] for url in self.urls()}
            if len(hashes) != 1:
                sys.exit(f"FAILED: block {number} differs between nodes: {hashes}")
        proof = self.work / "proof.json"
        proof.write_text(json.dumps(call(self.url("follower-0"), "lockweave_getFinality", hex(lowest))))
        genesis = str(self.dir / "genesis.json")
        print(self.command("verify-certificate", "--genesis", genesis, str(proof)).splitlines()[0])
        # Blocks are still made; nodes may have a different number of them.
        self.stop()
        for name in self.nodes:
            self.command("verify", "--datadir", str(self.dir / name / "data"))
        print(f"{lowest} blocks are the same on {len(self.nodes)} nodes; every data folder verifies")


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
    print(f"a validator was killed: longest time without a final block {watch.longest_gap():.2f} s")
    started = network.start("validator-0")
    wait_for("validator-0 is at the head", lambda: network.is_at_head("validator-0", others))
    print(f"it was at the head {time.monotonic() - started:.2f} s after its start")
    finish(sending, network, 1)

    for name in ("validator-2", "validator-3"):
        network.signal(name, signal.SIGSTOP)
    time.sleep(2)
    before = height(network.url("validator-1"))
    time.sleep(4)
    if height(network.url("validator-1")) != before:
        sys.exit("FAILED: blocks became final without a quorum")
    call(network.url("validator-0"), "eth_getBalance", "0x" + "77" * 20, "latest")
    for name in ("validator-2", "validator-3"):
        network.signal(name, signal.SIGCONT)
    took = wait_for("blocks become final again", lambda: height(network.url("validator-1")) > before)
    print(f"without a quorum nothing became final; with it again, after {took:.2f} s")

    network.kill("follower-0")
    shutil.rmtree(network.dir / "follower-0" / "data")
    started = network.start("follower-0")
    wait_for("follower-0 is at the head", lambda: network.is_at_head("follower-0", others))
    print(f"an empty follower was at the head {time.monotonic() - started:.2f} s after its start")
    network.verify()


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
            what = chance.choice(["kill", "stop", "roll", "wipe"])
            done[what] = done.get(what, 0) + 1
            # Without its votes a validator may vote against itself, so only followers lose their folder.
            name = "follower-0" if what == "wipe" else chance.choice(validators)
            others = [other for other in validators if other != name]
            if what == "stop":
                network.signal(name, signal.SIGSTOP)
                time.sleep(10)
                network.signal(name, signal.SIGCONT)
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
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    network = Network(options)
    try:
        short(options, network) if options.mode == "short" else soak(options, network)
    finally:
        # A node that is stopped does not end by itself.
        for node in network.nodes.values():
            if is_running(node["pid"]):
                os.kill(node["pid"], signal.SIGCONT)
        network.stop()


if __name__ == "__main__":
    main()
