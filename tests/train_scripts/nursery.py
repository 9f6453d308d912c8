"""Starts scripts as forks of a process that has imported everything, which is most of what a tiny run takes.

Each line of stdin is an order {"script", "argv", "log", "processes", "pause"}; the answers are lines of JSON: the
process ids, then, when all have ended, their exit codes (negative: the signal). As torchrun does, it terminates the
others when one process has died. "pause" makes a moment long enough to be hit: the name of a function of `checkpoints`
that sleeps a second before each call.
"""

import json
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from train_scripts import checkpoints, evaluate, finetune, pretrain
from train_scripts.options import parse_options


def start(script: str, argv: list[str]) -> None:
    if script == "evaluate":
        evaluate.main(parse_options(evaluate.EvaluationOptions, evaluate.with_checkpoint_flag(argv)))
    elif script == "finetune":
        finetune.main(parse_options(finetune.FinetuningOptions, argv))
    else:
        pretrain.main(parse_options(pretrain.PretrainingOptions, argv))


def run(order: dict, rank: int, port: int) -> int:
    log = os.open(f"{order['log']}_{rank}.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    if order["processes"] > 1:
        world = str(order["processes"])
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if order["pause"]:
        paused = getattr(checkpoints, order["pause"])
        setattr(checkpoints, order["pause"], lambda *arguments: (time.sleep(1), paused(*arguments))[1])
    try:
        start(order["script"], order["argv"])
    except SystemExit as error:
        return error.code
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(pids: list[int]) -> list[int]:
    codes, terminated = {}, None
    while len(codes) < len(pids):
        for pid in set(pids) - set(codes):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                codes[pid] = os.waitstatus_to_exitcode(status)
        if terminated is None and any(codes.values()):
            terminated = time.monotonic()
            for pid in set(pids) - set(codes):
                os.kill(pid, signal.SIGTERM)
        if terminated is not None and time.monotonic() - terminated > 30:
            for pid in set(pids) - set(codes):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    return [codes[pid] for pid in pids]


for line in sys.stdin:
    order, port, pids = json.loads(line), free_port(), []
    for rank in range(order["processes"]):
        pid = os.fork()
        if pid == 0:
            code = run(order, rank, port)
            sys.stdout.flush()
            os._exit(code)
        pids.append(pid)
    print(json.dumps(pids), flush=True)
    print(json.dumps(wait_for(pids)), flush=True)
