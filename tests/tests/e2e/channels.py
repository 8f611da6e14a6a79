"""Commands over the channel protocols of a kubelet, by a WebSocket client that is none of ours.

channels.py ws://API_SERVER              by way of an API server
channels.py wss://KUBELET CA TOKEN       straight to a kubelet
"""

import json
import ssl
import struct
import sys

import websocket

URL, TLS, TOKEN = sys.argv[1], None, None
if len(sys.argv) > 2:
    TLS, TOKEN = {"ca_certs": sys.argv[2], "cert_reqs": ssl.CERT_REQUIRED}, sys.argv[3]


def at(path):
    if not TLS:
        return URL + "/api/v1/namespaces/default/pods/web/" + path
    what, query = path.split("?")
    return URL + {"exec": "/exec/default/web/c?", "portforward": "/portForward/default/web?"}[what] + query


def connect(path, protocol, token=TOKEN):
    protocols = [protocol] if protocol else None
    header = ["Authorization: Bearer " + token] if token else None
    socket = websocket.create_connection(at(path), subprotocols=protocols, timeout=30, sslopt=TLS, header=header)
    assert socket.getsubprotocol() == protocol, socket.getsubprotocol()
    return socket


def command(words, **flags):
    query = "&".join(["container=c"] + ["command=" + word for word in words] + [f"{k}=true" for k in flags])
    return "exec?" + query


def messages(socket):
    """All messages up to the goodbye, by channel; their order within a channel is kept."""
    channels = {}
    while True:
        code, data = socket.recv_data()
        if code == websocket.ABNF.OPCODE_CLOSE:
            assert struct.unpack(">H", data[:2])[0] == 1000, data
            return channels
        channels.setdefault(data[0], bytearray()).extend(data[1:])


def status(channels):
    return json.loads(bytes(channels[3]))


for protocol in ["v5.channel.k8s.io", "v4.channel.k8s.io"]:
    words = ["sh", "-c", "echo%20out;echo%20err%3E%262;exit%205"]
    got = messages(connect(command(words, stdout=1, stderr=1), protocol))
    assert bytes(got[1]) == b"out\n" and bytes(got[2]) == b"err\n", got
    assert status(got)["details"]["causes"] == [{"reason": "ExitCode", "message": "5"}], got

# The first message is empty, on the lowest channel that is read.
socket = connect(command(["true"], stdout=1), "v4.channel.k8s.io")
assert socket.recv() == b"\x01"
assert status(messages(socket)) == {"metadata": {}, "status": "Success"}

# An end of input, which only version 5 can say.
socket = connect(command(["md5sum"], stdin=1, stdout=1), "v5.channel.k8s.io")
for _ in range(64):
    socket.send_binary(b"\0" + b"x" * 16384)
socket.send_binary(b"\xff\0")
assert bytes(messages(socket)[1]).split()[0] == b"b561f87202d04959e37588ee05cf5b10"

# A terminal of a size; a ping is answered meanwhile.
socket = connect(command(["sh"], stdin=1, stdout=1, tty=1), "v5.channel.k8s.io")
socket.send_binary(b"\x04" + json.dumps({"Width": 91, "Height": 17}).encode())
socket.ping("are you there")
socket.send_binary(b"\0stty size; exit 6\n")
got = messages(socket)
assert b"17 91" in bytes(got[1]) and 2 not in got, got
assert status(got)["details"]["causes"][0]["message"] == "6"

# Text and base64; and no protocol at all, whose errors are words.
socket = connect(command(["echo", "hi"], stdout=1), "v4.base64.channel.k8s.io")
assert socket.recv() == "1" and socket.recv() == "1aGkK"
socket.close()
got = messages(connect(command(["false"], stdout=1), None))
assert b"exit code: 1" in bytes(got[3]), got

# Channels and messages that make no sense change nothing.
socket = connect(command(["cat"], stdin=1, stdout=1), "v5.channel.k8s.io")
for odd in [b"", b"\x07what", b"\xfe", b"\xff", b"\xff\x09"]:
    socket.send_binary(odd)
socket.send_binary(b"\0still here\n")
socket.send_binary(b"\xff\0")
assert bytes(messages(socket)[1]) == b"still here\n"

# Ports: each channel says first which one it is of.
socket = connect("portforward?ports=8080&ports=81", "v4.channel.k8s.io")
first = sorted(socket.recv() for _ in range(4))
assert first == [b"\0\x90\x1f", b"\x01\x90\x1f", b"\x02Q\0", b"\x03Q\0"], first
assert b"refused" in socket.recv()
socket.send_binary(b"\0GET / HTTP/1.0\r\n\r\n")
answer = bytearray()
while b"hello" not in answer:
    message = socket.recv()
    assert message[0] == 0, message
    answer.extend(message[1:])
socket.close()

for token in [None, "guessed"] if TLS else []:
    try:
        connect(command(["true"], stdout=1), "v5.channel.k8s.io", token)
        raise SystemExit("somebody without a name was let in")
    except websocket.WebSocketBadStatusException as err:
        assert err.status_code == 401, err

for protocol in ["v9.channel.k8s.io", "chat"]:
    try:
        connect(command(["true"], stdout=1), protocol)
        raise SystemExit("a protocol that nobody speaks was accepted")
    except websocket.WebSocketBadStatusException as err:
        assert err.status_code == 403, err

print("all of it works")
