"""Runs a tutorial's blocks for test_tutorials.py: one request a line on stdin, one answer a line on stdout.

{"command": [words], "folder": path, "environment": {}} runs there in a forked process, which saves importing everything
anew for each command. With "port" it serves until the worker ends, and the answer comes when the port is open.
{"python": code} runs in one namespace, as in a notebook; a worker gets one kind of request only.
"""

import json
import os
import runpy
import signal
import socket
import sys
import time
import traceback


def run_command(words):
    if words[0] == "clef":
        from clef.cli import main

        return main(words[1:])
    if words[0] == "python" and words[1].startswith("train_scripts/"):
        sys.argv = words[1:]
        sys.path.insert(0, "")  # what a script replaces by the project's folder
        runpy.run_path(words[1], run_name="__main__")
        return 0
    raise ValueError(f"{words}: expected clef … or python train_scripts/…")


def forked(request, log):
    child = os.fork()
    if not child:
        run_child(request, log)
    return child


def run_child(request, log):
    code = 1
    try:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
        os.chdir(request["folder"])
        os.environ.clear()  # of what the worker was started with, which may be another tutorial's
        os.environ.update(request["environment"])
        code = run_command(request["command"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not isinstance(end.code, (int, type(None))):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def served(child, port):
    """Whether the process is there and serves."""
    for _ in range(1200):
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        with socket.socket() as test:
            if test.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def main():
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    log = open(sys.argv[1], "a+", encoding="utf-8")
    if sys.argv[2] == "commands":
        import analysis.run  # noqa: F401
        import clef.finetune_run  # noqa: F401
        import train_scripts.pretrain  # noqa: F401
    namespace, servers = {"__name__": "__main__"}, []
    for line in sys.stdin:
        request, code = json.loads(line), 0
        start = log.seek(0, os.SEEK_END)
        if "port" in request:
            child = forked(request, log)
            if served(child, request["port"]):
                servers.append(child)
            else:
                code = 1
        elif "command" in request:
            code = os.waitstatus_to_exitcode(os.waitpid(forked(request, log), 0)[1])
        else:
            sys.stdout = sys.stderr = log
            try:
                exec(compile(request["python"], "<tutorial>", "exec"), namespace)
            except BaseException:
                traceback.print_exc(file=log)
                code = 1
        log.flush()
        log.seek(start)
        answers.write(json.dumps({"code": code, "output": log.read()}) + "\n")
        answers.flush()
    for child in servers:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
