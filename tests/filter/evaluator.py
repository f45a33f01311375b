"""A filter read and judged once more, as plainly as PROTOCOL.md says it, with msgpack reading the documents.

Nothing here is taken from the broker's filter_*.c: where the two differ, one of them misreads the specification."""
import re

import msgpack

TEXT_MAX, NODES_MAX, STEPS_MAX, NESTING_MAX = 1024, 64, 32, 64
DEPTH_MAX, VALUES_MAX = 32, 10000
RESERVED = {"and", "or", "not", "in", "has", "exists", "true", "false", "nil"}
CONSTANTS = {"true": True, "false": False, "nil": None}

NAME = r"[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff-]*"
QUOTED = r'"(?:[^"\\]|\\["\\nt]|\\u[0-9A-Fa-f]{4})*"'
STEP = rf"(?:\.(?:{NAME}|{QUOTED})|\[[0-9]+\])"
TOKEN = re.compile(rf"""[ \t\r\n]*(?:
    (?P<word>(?:{'|'.join(sorted(RESERVED))})(?![A-Za-z0-9_\x80-\U0010ffff-])) |
    (?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![A-Za-z0-9_.\x80-\U0010ffff-]))
  | (?P<text>{QUOTED})
  | (?P<special>@(?:topic(?![A-Za-z0-9_\x80-\U0010ffff-])|level\[[0-9]+\]|props{STEP}+))
  | (?P<path>{NAME}{STEP}*|{STEP}+|\.(?:\[[0-9]+\]{STEP}*)?(?=[ \t\r\n()\[\]=!<>^,]|$))
  | (?P<sign>==|!=|<=|>=|\^=|<|>|\(|\)|\[|\]|,)
  | (?P<end>$)
)""", re.VERBOSE | re.DOTALL)
STEP_PARTS = re.compile(rf'\.?(?P<name>{NAME})|\.(?P<quoted>{QUOTED})|\[(?P<index>[0-9]+)\]', re.DOTALL)
ESCAPE = re.compile(r'\\u([0-9A-Fa-f]{4})|\\(.)', re.DOTALL)


class Refused(Exception):
    pass


class Missing:
    pass


class Map(tuple):
    """Its pairs, in the order of their bytes: keys may be equal, and of any kind."""


MISSING = Missing()
MISTYPED = object()  # an ext, whatever is in it


def unquote(written):
    def plain(match):
        return chr(int(match[1], 16)) if match[1] else {"n": "\n", "t": "\t"}.get(match[2], match[2])
    text = ESCAPE.sub(plain, written[1:-1])
    try:  # two halves make one character; one alone makes none
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise Refused("half a pair") from None


def number(written):
    if re.fullmatch("-?[0-9]+", written):
        whole = int(written)
        if -2**63 <= whole < 2**64:
            return whole
    real = float(written)
    if real in (float("inf"), float("-inf")):
        raise Refused("too large")
    return real


class Parser:
    """expression -> nested tuples."""

    def __init__(self, text):
        if len(text) > TEXT_MAX:
            raise Refused("too long")
        try:
            self.text = text.decode()
        except UnicodeDecodeError:
            raise Refused("not UTF-8") from None
        if "\0" in self.text:
            raise Refused("NUL")
        self.at = self.nodes = self.nesting = 0
        self.advance()

    def advance(self):
        match = TOKEN.match(self.text, self.at)
        if match is None:
            raise Refused(f"at {self.at}")
        self.kind, self.token = match.lastgroup, match[match.lastgroup]
        self.begin, self.at = match.start(self.kind), match.end()
        if self.token in CONSTANTS:
            self.kind = "constant"

    def next_is(self, *tokens):
        return self.kind in ("word", "sign") and self.token in tokens

    def take(self, *tokens):
        taken = self.token if self.next_is(*tokens) else None
        if taken is not None:
            self.advance()
        return taken

    def due(self, token):
        if self.take(token) is None:
            raise Refused(f"{token} was due")

    def node(self):
        self.nodes += 1
        if self.nodes > NODES_MAX:
            raise Refused("too many nodes")

    def whole(self):
        tree = self.alternatives()
        if self.kind != "end":
            raise Refused("more behind the end")
        return tree

    def alternatives(self):
        tree = self.conjunction()
        while self.take("or"):
            self.node()
            tree = ("or", tree, self.conjunction())
        return tree

    def conjunction(self):
        tree = self.condition()
        while self.take("and"):
            self.node()
            tree = ("and", tree, self.condition())
        return tree

    def condition(self):
        if self.take("not"):
            self.node()
            return ("not", self.condition())
        if self.take("("):
            self.nesting += 1
            if self.nesting > NESTING_MAX:
                raise Refused("nested too deep")
            tree = self.alternatives()
            self.due(")")
            self.nesting -= 1
            return tree
        if self.take("exists"):
            self.node()
            self.due("(")
            path = self.operand()
            if path[0] == "literal":
                raise Refused("exists of a literal")
            self.due(")")
            return ("exists", path)
        return self.comparison()

    def comparison(self):
        left = self.operand()
        sign = self.take("==", "!=", "<", "<=", ">", ">=", "^=", "in", "has")
        if sign is None:
            raise Refused("no comparison")
        self.node()
        if sign == "in":
            if not self.text.startswith("[", self.begin):
                raise Refused("no list")
            self.at = self.begin + 1  # what is read as a token, [7], may look like an index
            self.advance()
            items = [self.literal()]
            while self.take(","):
                items.append(self.literal())
            self.due("]")
            right = ("list", items)
        else:
            right = self.operand()
        self.check(left, sign, right)
        return (sign, left, right)

    @staticmethod
    def check(left, sign, right):
        literals = [side[1] for side in (left, right) if side[0] == "literal"]
        if left[0] == "literal" and (sign in ("in", "has") or right[0] == "literal"):
            raise Refused("a literal on the left")
        if sign in ("<", "<=", ">", ">=") and any(literal is None or isinstance(literal, bool) for literal in literals):
            raise Refused("no order")
        if sign == "^=" and any(not isinstance(literal, str) for literal in literals):
            raise Refused("no text")

    def literal(self):
        operand = self.operand()
        if operand[0] != "literal":
            raise Refused("no literal")
        return operand[1]

    def operand(self):
        kind, token = self.kind, self.token
        if kind not in ("number", "text", "constant", "path", "special"):
            raise Refused("no operand")
        self.node()
        if kind == "number":
            operand = ("literal", number(token))
        elif kind == "text":
            operand = ("literal", unquote(token))
        elif kind == "constant":
            operand = ("literal", CONSTANTS[token])
        elif token == "@topic":
            operand = ("topic",)
        elif token.startswith("@level"):
            operand = ("level", self.steps(token[len("@level"):])[0])
        elif kind == "special":
            operand = ("props", self.steps(token[len("@props"):]))
        else:
            operand = ("document", self.steps(token[1:] if token == "." or token.startswith(".[") else token))
        self.advance()
        return operand

    @staticmethod
    def steps(written):
        steps = []
        for part in STEP_PARTS.finditer(written):
            if part["name"] in RESERVED:
                raise Refused("reserved")
            if part["index"] is not None:
                steps.append(int(part["index"]))
                if steps[-1] >= 2**64:
                    raise Refused("index")
            else:
                steps.append(unquote(part["quoted"]) if part["quoted"] is not None else part["name"])
        if len(steps) > STEPS_MAX:
            raise Refused("too many steps")
        return steps


def parse(text):
    """The tree of a filter's text (bytes), or Refused."""
    return Parser(text).whole()


def measure(value, depth=0):
    """Values in it; more than any limit if it is too deep."""
    if not isinstance(value, (list, Map)):
        return 1
    if depth == DEPTH_MAX:
        return VALUES_MAX + 1
    if isinstance(value, Map):
        return 1 + sum(measure(key, depth + 1) + measure(item, depth + 1) for key, item in value)
    return 1 + sum(measure(item, depth + 1) for item in value)


def decode(payload):
    """The document: maps are Maps, bin is bytes, str any characters. MISSING if it is none."""
    try:
        value = msgpack.unpackb(payload, raw=False, unicode_errors="surrogateescape", strict_map_key=False,
                                object_pairs_hook=Map, ext_hook=lambda *ext: MISTYPED)
    except (ValueError, msgpack.exceptions.UnpackException):
        return MISSING
    return value if measure(value) <= VALUES_MAX else MISSING


def kind_of(value):
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    return {str: "text", bytes: "bin", type(None): "nil"}.get(type(value))


def equal(a, b):
    return kind_of(a) is not None and kind_of(a) == kind_of(b) and a == b


def step_into(value, step):
    if isinstance(value, list):
        return value[step] if isinstance(step, int) and step < len(value) else MISSING
    if isinstance(value, Map):
        for key, item in value:
            if isinstance(key, (int, str)) and type(key) is type(step) and key == step:
                return item
    return MISSING


class Message:
    def __init__(self, topic, props, payload):
        self.topic = topic
        self.props = decode(props) if props is not None else Map()
        self.payload = payload
        self.document = MISSING

    def has_document(self):
        if step_into(self.props, 3) is not MISSING:
            return False
        self.document = decode(self.payload)
        return self.document is not MISSING

    def value(self, operand):
        if operand[0] == "literal":
            return operand[1]
        if operand[0] == "topic":
            return self.topic
        if operand[0] == "level":
            return step_into(self.topic.split("/"), operand[1])
        value = self.props if operand[0] == "props" else self.document
        for step in operand[1]:
            value = step_into(value, step)
        return value


def octets(value):
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def compare(sign, left, right, nil_is_literal):
    if MISSING in (left, right):
        return False
    if sign == "has":
        if not isinstance(left, (list, Map)):
            return False
        return any(equal(item[0] if isinstance(left, Map) else item, right) for item in left)
    if sign == "!=" and nil_is_literal:
        return left is not None or right is not None
    kind = kind_of(left)
    if kind is None or kind != kind_of(right):
        return False
    if sign in ("==", "!="):
        return (left == right) == (sign == "==")
    if sign == "^=":
        return kind == "text" and octets(left).startswith(octets(right))
    if kind not in ("number", "text"):
        return False
    left, right = octets(left), octets(right)
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[sign]


def uses_document(tree):
    if isinstance(tree, tuple):
        return tree[0] == "document" or any(uses_document(part) for part in tree[1:])
    return False


def evaluate(tree, message):
    if tree[0] == "and":
        return all([evaluate(part, message) for part in tree[1:]])
    if tree[0] == "or":
        return any([evaluate(part, message) for part in tree[1:]])
    if tree[0] == "not":
        return not evaluate(tree[1], message)
    if tree[0] == "exists":
        return message.value(tree[1]) is not MISSING
    left = message.value(tree[1])
    if tree[0] == "in":
        return left is not MISSING and any(equal(left, item) for item in tree[2][1])
    nil_is_literal = ("literal", None) in tree[1:]
    return compare(tree[0], left, message.value(tree[2]), nil_is_literal)


def matches(tree, topic, props, payload):
    message = Message(topic, props, payload)
    if uses_document(tree) and not message.has_document():
        return False
    return evaluate(tree, message)
