"""Every type in every order, both ways; golden vectors are written by hand."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.modbus.codec import Block, Field, NotEncodable, Undecodable, decode, encode
from mappers.modbus.encoding import Encoding, Order, RawType
from mappers.sdk import Readings, Reason

pytestmark = pytest.mark.fast

B, L = Order.BIG, Order.LITTLE
ORDERS = st.tuples(st.sampled_from(Order), st.sampled_from(Order))

GOLDEN = [
    (RawType.UINT16, B, B, [0x1122], 0x1122),
    (RawType.UINT16, L, B, [0x1122], 0x2211),
    (RawType.UINT16, B, L, [0x1122], 0x1122),
    (RawType.INT16, B, B, [0xFFFE], -2),
    (RawType.INT16, L, L, [0xFEFF], -2),
    (RawType.UINT32, B, B, [0x1122, 0x3344], 0x11223344),
    (RawType.UINT32, L, B, [0x2211, 0x4433], 0x11223344),
    (RawType.UINT32, B, L, [0x3344, 0x1122], 0x11223344),
    (RawType.UINT32, L, L, [0x4433, 0x2211], 0x11223344),
    (RawType.INT32, B, L, [0xFFFF, 0xFFFF], -1),
    (RawType.INT32, B, L, [0x0000, 0x8000], -(2**31)),
    (RawType.UINT64, B, B, [0x0102, 0x0304, 0x0506, 0x0708], 0x0102030405060708),
    (RawType.UINT64, L, B, [0x0201, 0x0403, 0x0605, 0x0807], 0x0102030405060708),
    (RawType.UINT64, B, L, [0x0708, 0x0506, 0x0304, 0x0102], 0x0102030405060708),
    (RawType.UINT64, L, L, [0x0807, 0x0605, 0x0403, 0x0201], 0x0102030405060708),
    (RawType.INT64, B, B, [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFD], -3),
    (RawType.FLOAT16, B, B, [0x3C00], 1.0),
    (RawType.FLOAT16, L, B, [0x00C0], -2.0),
    (RawType.FLOAT32, B, B, [0x42F6, 0xE666], 123.44999694824219),
    (RawType.FLOAT32, B, L, [0xE666, 0x42F6], 123.44999694824219),
    (RawType.FLOAT32, L, L, [0x66E6, 0xF642], 123.44999694824219),
    (RawType.FLOAT64, B, B, [0x400C, 0, 0, 0], 3.5),
    (RawType.FLOAT64, B, L, [0, 0, 0, 0x400C], 3.5),
    (RawType.BCD16, B, B, [0x1234], 1234),
    (RawType.BCD16, L, B, [0x1234], 3412),
    (RawType.BCD32, B, L, [0x5678, 0x1234], 12345678),
    (RawType.BCD64, B, B, [0x9876, 0x5432, 0x1098, 0x7654], 9876543210987654),
    (RawType.BOOL, B, B, [1], True),
]


@pytest.mark.parametrize(("raw_type", "byte_order", "word_order", "words", "value"), GOLDEN)
def test_golden_vector_both_ways(raw_type, byte_order, word_order, words, value):
    encoding = Encoding.of(raw_type, byte_order, word_order)
    decoded = decode(words, encoding)
    assert decoded == value
    assert type(decoded) is type(value)
    assert encode(value, encoding) == words


@pytest.mark.parametrize(
    ("byte_order", "word_order", "words"),
    [
        (B, B, [0x5075, 0x6D70, 0x3700]),
        (L, B, [0x7550, 0x706D, 0x0037]),
        (B, L, [0x3700, 0x6D70, 0x5075]),
    ],
)
def test_text_loses_only_trailing_nul(byte_order, word_order, words):
    encoding = Encoding(RawType.STRING, 3, byte_order, word_order)
    assert decode(words, encoding) == "Pump7"
    assert encode("Pump7", encoding) == words


@pytest.mark.parametrize("bit", range(16))
def test_bit_of_a_register(bit):
    encoding = Encoding(RawType.BOOL, 1, bit=bit)
    assert decode([1 << bit], encoding) is True
    assert decode([0xFFFF ^ (1 << bit)], encoding) is False
    assert encode(True, encoding) == [1 << bit]
    assert encode(0, encoding) == [0]


def test_bit_counts_after_the_bytes_are_in_order():
    assert decode([0x0100], Encoding(RawType.BOOL, 1, byte_order=L, bit=0)) is True


def test_any_other_than_zero_is_true_in_a_whole_register():
    assert decode([0x8000], Encoding.of(RawType.BOOL)) is True
    assert decode([0], Encoding.of(RawType.BOOL)) is False


NUMBERS = {
    RawType.BOOL: st.booleans(),
    RawType.FLOAT16: st.floats(width=16, allow_nan=False, allow_infinity=False),
    RawType.FLOAT32: st.floats(width=32, allow_nan=False, allow_infinity=False),
    RawType.FLOAT64: st.floats(allow_nan=False, allow_infinity=False),
    RawType.BCD16: st.integers(0, 9999),
    RawType.BCD32: st.integers(0, 10**8 - 1),
    RawType.BCD64: st.integers(0, 10**16 - 1),
    **{RawType(f"uint{n}"): st.integers(0, 2**n - 1) for n in (16, 32, 64)},
    **{RawType(f"int{n}"): st.integers(-(2 ** (n - 1)), 2 ** (n - 1) - 1) for n in (16, 32, 64)},
}


@st.composite
def encoded(draw):
    raw_type = draw(st.sampled_from(RawType))
    orders = draw(ORDERS)
    if raw_type is RawType.STRING:
        text = draw(st.text(max_size=10).filter(lambda text: not text.endswith("\0")))
        return text, Encoding(raw_type, draw(st.integers(max(1, (len(text.encode()) + 1) // 2), 25)), *orders)
    return draw(NUMBERS[raw_type]), Encoding.of(raw_type, *orders)


@given(encoded())
def test_decode_inverts_encode(case):
    value, encoding = case
    words = encode(value, encoding)
    assert len(words) == encoding.registers
    assert decode(words, encoding) == value


@given(st.lists(encoded(), max_size=12), st.randoms(use_true_random=False))
def test_block_gives_each_field_what_it_gives_alone(cases, random):
    words = [random.randrange(65536) for _ in range(125)]
    fields, expected = [], {}
    for number, (value, encoding) in enumerate(cases):
        start = random.randrange(126 - encoding.registers)
        words[start : start + encoding.registers] = encode(value, encoding)
        fields.append(Field(str(number), start, encoding))
    for field in fields:  # later values may have overwritten earlier ones: overlapping fields are allowed
        part = words[field.start : field.start + field.encoding.registers]
        try:
            expected[field.name] = decode(part, field.encoding)
        except Undecodable:
            expected[field.name] = Undecodable
    readings = Readings()
    Block(fields, 125).decode_into(struct.pack(">125H", *words), readings)
    found = readings.values | dict.fromkeys(readings.faults, Undecodable)
    assert found == expected
    assert not readings.values.keys() & readings.faults.keys()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_float_that_is_no_number_is_a_fault_of_its_point_only(number):
    fields = [
        Field("broken", 0, Encoding.of(RawType.FLOAT32)),
        Field("whole", 2, Encoding.of(RawType.INT16)),
        Field("fine", 3, Encoding.of(RawType.FLOAT32)),
    ]
    readings = Readings()
    Block(fields, 5).decode_into(struct.pack(">fhf", number, 7, 1.5), readings)
    assert readings.values == {"whole": 7, "fine": 1.5}
    assert readings.faults["broken"].reason is Reason.DECODE_ERROR


def test_large_floats_whose_sum_overflows_are_good_values():
    fields = [Field(name, at, Encoding.of(RawType.FLOAT64)) for name, at in (("a", 0), ("b", 4))]
    readings = Readings()
    Block(fields, 8).decode_into(struct.pack(">dd", 1.7e308, 1.7e308), readings)
    assert readings.values == {"a": 1.7e308, "b": 1.7e308}
    assert not readings.faults


def test_digit_over_nine_is_not_bcd():
    with pytest.raises(Undecodable, match="holds 0x12a4, which has a digit over 9 and so is not BCD"):
        decode([0x12A4], Encoding.of(RawType.BCD16))


def test_bytes_that_are_no_text():
    with pytest.raises(Undecodable, match="not UTF-8 text: fffe"):
        decode([0xFFFE], Encoding(RawType.STRING, 1))


@pytest.mark.parametrize(
    ("value", "encoding", "text"),
    [
        (65536, Encoding.of(RawType.UINT16), "65536 is not in the range of uint16, 0 to 65535"),
        (-1, Encoding.of(RawType.UINT32), "-1 is not in the range of uint32, 0 to 4294967295"),
        (32768, Encoding.of(RawType.INT16), "32768 is not in the range of int16, -32768 to 32767"),
        (10000, Encoding.of(RawType.BCD16), "10000 is not in the range of bcd16, 0 to 9999"),
        (1.5, Encoding.of(RawType.INT32), "1.5 is not a whole number for int32"),
        (True, Encoding.of(RawType.INT32), "True is not a whole number for int32"),
        ("7", Encoding.of(RawType.UINT16), "'7' is not a whole number for uint16"),
        (None, Encoding.of(RawType.FLOAT32), "None is not a number for float32"),
        (1e39, Encoding.of(RawType.FLOAT32), "1e+39 is not a finite number in the range of float32"),
        (70000, Encoding.of(RawType.FLOAT16), "70000 is not a finite number in the range of float16"),
        (math.nan, Encoding.of(RawType.FLOAT64), "nan is not a finite number in the range of float64"),
        (2, Encoding.of(RawType.BOOL), "2 is not true or false"),
        ("abc", Encoding(RawType.STRING, 1), "'abc' is not text of at most 2 bytes that does not end with NUL"),
        ("a\0", Encoding(RawType.STRING, 1), "'a\\x00' is not text of at most 2 bytes that does not end with NUL"),
        (5, Encoding(RawType.STRING, 1), "5 is not text"),
        ("\ud800", Encoding(RawType.STRING, 4), "'\\ud800' is not text that UTF-8 can hold"),
        (10**400, Encoding.of(RawType.FLOAT64), f"{10**400} is not a finite number in the range of float64"),
    ],
)
def test_what_does_not_fit_is_refused(value, encoding, text):
    with pytest.raises(NotEncodable) as caught:
        encode(value, encoding)
    assert str(caught.value) == text


def test_whole_float_is_an_int():
    assert encode(7.0, Encoding.of(RawType.UINT16)) == [7]


@pytest.mark.parametrize("registers", [0, 126])
def test_block_size_is_that_of_one_answer(registers):
    with pytest.raises(ValueError, match="1 to 125 registers"):
        Block([], registers)


def test_field_must_lie_inside_its_block():
    with pytest.raises(ValueError, match="late does not fit into a block of 3 registers"):
        Block([Field("late", 2, Encoding.of(RawType.UINT32))], 3)
