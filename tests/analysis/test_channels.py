"""Bounded queues between threads."""

import threading

import pytest

from analysis.channels import END, Channel, Closed


def in_thread(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def test_items_come_in_order_then_the_end_for_ever():
    channel = Channel(3)
    for item in (1, None, 3):
        channel.put(item)
    channel.end()
    assert [channel.get() for _ in range(5)] == [1, None, 3, END, END]


def test_a_writer_waits_while_the_channel_is_full():
    channel, written = Channel(2), []

    def write():
        for number in range(6):
            channel.put(number)
            written.append(number)

    thread = in_thread(write)
    thread.join(0.1)
    assert written == [0, 1] and not channel.offer("more")
    assert [channel.get() for _ in range(6)] == [0, 1, 2, 3, 4, 5]
    thread.join(5)
    assert written == [0, 1, 2, 3, 4, 5] and channel.offer("more")


def test_an_error_comes_after_what_was_put_before_it():
    channel = Channel(2)
    channel.put(1)
    channel.end(KeyError("broken"))
    assert channel.get() == 1
    with pytest.raises(KeyError, match="broken"):
        channel.get()


def test_a_waiting_writer_is_told_that_the_reader_has_gone():
    channel, told = Channel(1), []
    channel.put(1)

    def write():
        try:
            channel.put(2)
        except Closed:
            told.append(True)

    thread = in_thread(write)
    channel.close()
    thread.join(5)
    assert told == [True]
    with pytest.raises(Closed):
        channel.offer(3)


def test_a_reader_waits_for_what_comes_late():
    channel, found = Channel(1), []
    thread = in_thread(lambda: found.append(channel.get()))
    channel.put("late")
    thread.join(5)
    assert found == ["late"]
