"""A window (Tk) and a worker: keys go to the worker through a pipe, the worker keeps the text in shared
memory and answers through another pipe. Return saves what the shared memory holds."""

import multiprocessing
import sys
import tkinter
from multiprocessing import shared_memory


def work(keys, lengths, name):
    memory = shared_memory.SharedMemory(name=name)
    length = 0
    while key := keys.recv():
        memory.buf[length] = ord(key)
        length += 1
        lengths.send(length)


def main():
    memory = shared_memory.SharedMemory(create=True, size=1 << 20)
    keys_out, keys = multiprocessing.Pipe(duplex=False)
    lengths, lengths_in = multiprocessing.Pipe(duplex=False)
    worker = multiprocessing.Process(target=work, args=(keys_out, lengths_in, memory.name), daemon=True)
    worker.start()
    window = tkinter.Tk()
    window.title("two processes")
    label = tkinter.Label(window, text="type", width=40, height=5)
    label.pack()
    length = 0

    def pressed(event):
        nonlocal length
        if event.char and event.char.isprintable():
            keys.send(event.char)
            length = lengths.recv()
        text = bytes(memory.buf[:length]).decode()
        label.config(text=text)
        if event.keysym == "Return":
            with open(sys.argv[1], "w") as file:
                file.write(text)

    window.bind("<Key>", pressed)
    window.mainloop()
    memory.unlink()


if __name__ == "__main__":
    main()
