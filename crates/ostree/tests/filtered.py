"""Filters summaries with GLib alone, for the tests to compare with: a line `FILE TYPE KEPT,KEPT` in, the bytes in hexadecimal out."""

import sys

import gi

gi.require_version("GLib", "2.0")
from gi.repository import GLib

V, T = GLib.Variant, GLib.VariantType
PLAIN = {"b", "y", "n", "q", "i", "u", "x", "t", "d", "s", "ay"}


def children(value):
    return [value.get_child_value(index) for index in range(value.n_children())]


def array(of, values):
    return V.new_array(T(of), values)


def text(value):
    return value.get_child_value(0).get_string()


def entry(key, value):
    return V.new_dict_entry(V.new_string(key), V.new_variant(value))


def summary(value, kept):
    refs, metadata = children(value)
    commit = lambda ref: bytes(ref.get_child_value(1).get_child_value(1).unpack()).hex()
    gone = {commit(ref) for ref in children(refs) if text(ref) not in kept}
    stays = {commit(ref) for ref in children(refs) if text(ref) in kept}
    out = []
    for item in children(metadata):
        key, inner = text(item), item.get_child_value(1).get_variant()
        if key == "xa.cache":
            cache = inner.get_variant()
            left = [one for one in children(cache) if text(one) in kept]
            out.append(entry(key, V.new_variant(array("{s(tts)}", left))))
        elif key == "xa.sparse-cache":
            out.append(entry(key, array("{sa{sv}}", [one for one in children(inner) if text(one) in kept])))
        elif key == "ostree.static-deltas":
            left = []
            for one in children(inner):
                *start, to = text(one).split("-")
                if to in stays and not (start and start[0] in gone - stays):
                    left.append(one)
            out.append(entry(key, array("{sv}", left)))
        elif inner.get_type_string() in PLAIN:
            out.append(item)
    kept_refs = [ref for ref in children(refs) if text(ref) in kept]
    return V.new_tuple(array("(s(taya{sv}))", kept_refs), array("{sv}", out))


def index(value, kept):
    entries, metadata = children(value)
    left = []
    for one in children(entries):
        if text(one) in kept:
            checksum, _history, more = children(one.get_child_value(1))
            flipped = V.new_from_bytes(T("ay"), GLib.Bytes(bytes(255 - byte for byte in checksum.unpack())), True)
            left.append(V.new_dict_entry(one.get_child_value(0), V.new_tuple(flipped, array("ay", []), more)))
    return V.new_tuple(array("{s(ayaaya{sv})}", left), metadata)


for line in sys.stdin:
    path, kind, kept = line.rstrip("\n").split("\t")
    with open(path, "rb") as file:
        value = V.new_from_bytes(T(kind), GLib.Bytes(file.read()), False)
    make = summary if kind.startswith("(a(s") else index
    made = make(value, set(kept.split(",")))
    print(made.get_data_as_bytes().get_data().hex() if made.get_size() else "", flush=True)
