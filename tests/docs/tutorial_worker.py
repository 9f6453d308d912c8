"""Runs a tutorial's blocks for test_tutorials.py: one request a line on stdin, one answer a line on stdout.

{"server": [words], "port": number} starts a command that serves until the worker ends, and waits for the port.
{"python": code} runs in one namespace, as in a notebook. {"command": [words]} runs in a forked process, which saves
importing everything anew for each command; a worker gets one kind of request only.
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


def forked(words, log):
    child = os.fork()
    if not child:
        run_child(words, log)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run_child(words, log):
    code = 1
    try:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
        code = run_command(words)
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


def served(words, port, log):
    """The server's process; the code is 1 where it ends instead of serving."""
    child = os.fork()
    if not child:
        run_child(words, log)
    for _ in range(1200):
        if os.waitpid(child, os.WNOHANG)[0]:
            return None, 1
        with socket.socket() as test:
            if test.connect_ex(("127.0.0.1", port)) == 0:
                return child, 0
        time.sleep(0.1)
    return child, 1


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
        if "command" in request:
            code = forked(request["command"], log)
        elif "server" in request:
            child, code = served(request["server"], request["port"], log)
            servers += [child] if child else []
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
