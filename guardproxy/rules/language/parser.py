"""Tokens to a tree, by operator precedence.

Decides the grammar. From loosest to tightest: `or`/`and` (never mixed), `not`, comparisons with `in` and
`is missing`, `??`, `+ -`, `* /`, unary `-`. `if a then b else c` stands at the loosest level. What names and functions
mean, and kinds, are left to `checker`.

The parser counts its own nesting and stops at `MAX_DEPTH`, so no text can exhaust the interpreter's stack.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final, NoReturn

from guardproxy.rules.language import foreign
from guardproxy.rules.language.flaws import Flaw, FlawError
from guardproxy.rules.language.helps import (
    TWO_VALUES_HELP,
    VALUE_HELP,
    behind_operand_help,
    call_help,
    index_help,
    part_help,
)
from guardproxy.rules.language.names import Kind
from guardproxy.rules.language.nodes import (
    Arithmetic,
    Call,
    Coalesce,
    Compare,
    If,
    IsMissing,
    Items,
    Literal,
    Logic,
    Negate,
    Node,
    Not,
    Path,
    Within,
)
from guardproxy.rules.language.tokens import OTHER_MISSING, RESERVED, Token, TokenKind, tokenize

MAX_DEPTH: Final = 40
MAX_LIST: Final = 1_000
_MAX_CALLS: Final = 100
"""Operands of operators nest too (`a or b == c + d`), so the calls of the parser have a bound of their own."""

_LOGIC, _NOT, _COMPARE, _COALESCE, _SUM, _PRODUCT, _UNARY = range(1, 8)

_POWERS: Final[Mapping[str, int]] = MappingProxyType(
    {
        **dict.fromkeys(("and", "or"), _LOGIC),
        **dict.fromkeys(("<", "<=", ">", ">=", "==", "!=", "in", "not", "is"), _COMPARE),
        "??": _COALESCE,
        **dict.fromkeys(("+", "-"), _SUM),
        **dict.fromkeys(("*", "/"), _PRODUCT),
    }
)
_COMPARISONS: Final = ("<", "<=", ">", ">=", "==", "!=")


def parse(text: str) -> Node:
    """Return the tree of `text`, its names and functions unresolved. Raises FlawError at the first mistake."""
    return _Parser(text).whole()


class _Parser:
    """One reading of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokenize(text)
        self._position = 0
        self._depth = 0
        self._calls = 0

    def whole(self) -> Node:
        if self._tokens[0].kind is TokenKind.END:
            raise FlawError(
                Flaw("E110", "the expression is empty", 0, len(self._text), "write a comparison, for example")
            )
        node = self._expression(0)
        if self._now.kind is not TokenKind.END:
            self._fail_after_operand()
        return node

    # Tokens.

    @property
    def _now(self) -> Token:
        return self._tokens[self._position]

    def _take(self) -> Token:
        token = self._now
        if token.kind is not TokenKind.END:
            self._position += 1
        return token

    def _is(self, *texts: str) -> bool:
        token = self._now
        return token.kind in (TokenKind.WORD, TokenKind.OPERATOR) and token.text in texts

    def _accept(self, text: str) -> bool:
        if self._is(text):
            self._position += 1
            return True
        return False

    def _expect(self, text: str, after: str) -> None:
        if not self._accept(text):
            help_ = "write `else true` if nothing is asked otherwise" if text == "else" else ""
            self._fail(f"expected `{text}` after {after}", help_)

    def _close(self, bracket: str, opened: Token) -> int:
        """Take the closing bracket and return the offset just past it."""
        token = self._now
        if self._accept(bracket):
            return token.offset + 1
        if token.kind is TokenKind.END:
            message = f"`{opened.text}` is not closed"
            raise FlawError(Flaw("E117", message, opened.offset, 1, f"add `{bracket}`"))
        return self._fail_after_operand(f"`{bracket}`")

    def _fail(self, message: str, help_: str = "", *, token: Token | None = None) -> NoReturn:
        token = token or self._now
        found = "the end" if token.kind is TokenKind.END else f"`{token.text}`"
        raise FlawError(Flaw("E110", f"{message}, found {found}", token.offset, max(1, token.length), help_))

    def _fail_too_deep(self) -> NoReturn:
        token = self._now
        message = f"nested more than {MAX_DEPTH} deep"
        raise FlawError(
            Flaw("E103", message, token.offset, max(1, token.length), "name the inner part as a KPI")
        )

    def _fail_after_operand(self, wanted: str = "an operator or the end") -> NoReturn:
        before, token = self._tokens[self._position - 1 : self._position + 1]
        after = self._tokens[min(self._position + 1, len(self._tokens) - 1)]
        help_ = behind_operand_help(before, token, after)
        if not help_ and token.kind in (TokenKind.WORD, TokenKind.NUMBER, TokenKind.TEXT):
            self._refuse_word_before()
            help_ = TWO_VALUES_HELP
        self._fail(f"expected {wanted}", help_)

    def _refuse_word_before(self) -> None:
        """Blame a word before this one that was read as a name, though an operator is meant: `NOT x`."""
        before = self._tokens[self._position - 1]
        lower = before.text.lower()
        if before.kind is not TokenKind.WORD or before.text in RESERVED:
            return
        if lower in RESERVED:
            self._fail("expected a value", f"write `{lower}` in small letters", token=before)
        if lower in foreign.WORDS and lower not in ("x", "y", "o", "k", "m", "s", "h", "d", "g"):
            alone = self._position < 2 or self._tokens[self._position - 2].text != "."
            if alone:
                self._fail("expected a value", foreign.WORDS[lower], token=before)

    # Expressions.

    def _expression(self, minimum: int) -> Node:
        self._calls += 1
        if self._calls > _MAX_CALLS:
            self._fail_too_deep()
        node = self._prefix(minimum)
        while True:
            power = self._power()
            if power == 0 or power < minimum:
                break
            node = _INFIX[power](self, node)
        self._calls -= 1
        return node

    def _inside(self, minimum: int) -> Node:
        """Read what stands inside parentheses, a call, a list or `if`, or behind a sign or `not`."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail_too_deep()
        node = self._expression(minimum)
        self._depth -= 1
        return node

    def _power(self) -> int:
        token = self._now
        if token.kind not in (TokenKind.WORD, TokenKind.OPERATOR):
            return 0
        return _POWERS.get(token.text, 0)

    def _prefix(self, minimum: int) -> Node:
        token = self._now
        if token.kind in (TokenKind.NUMBER, TokenKind.TEXT):
            self._take()
            written = token.text if token.kind is TokenKind.NUMBER else ""
            return Literal(token.offset, token.length, Kind.ANY, token.value, written)
        if token.kind is TokenKind.WORD:
            return self._word(minimum)
        if token.text == "-":
            self._take()
            return _negated(token.offset, self._inside(_UNARY))
        if token.text == "(":
            self._take()
            inner = self._inside(0)
            end = self._close(")", token)
            return replace(inner, offset=token.offset, length=end - token.offset)
        if token.text == "[":
            return self._items()
        help_ = VALUE_HELP.get(token.text, "")
        if token.kind is TokenKind.END and self._position:
            help_ = f"something is missing behind `{self._tokens[self._position - 1].text}`"
        return self._fail("expected a value", help_)

    def _word(self, minimum: int) -> Node:
        token = self._now
        word = token.text
        if word in ("true", "false"):
            self._take()
            return Literal(token.offset, token.length, Kind.ANY, word == "true")
        if word == "not":
            if minimum > _NOT:
                self._fail("expected a value", "put `not ...` in parentheses here")
            self._take()
            operand = self._inside(_NOT)
            return Not(token.offset, operand.end - token.offset, Kind.ANY, operand)
        if word == "if":
            if minimum > 0:
                self._fail("expected a value", "put `if ... then ... else ...` in parentheses here")
            return self._if()
        if word in RESERVED:
            help_ = "write `x is missing`" if word == "missing" else ""
            self._fail("expected a value", help_)
        return self._name()

    def _if(self) -> Node:
        start = self._take()
        condition = self._inside(_LOGIC)
        self._expect("then", "the condition of `if`")
        yes = self._inside(_LOGIC)
        self._expect("else", "`then`")
        no = self._inside(0)
        return If(start.offset, no.end - start.offset, Kind.ANY, condition, yes, no)

    def _name(self) -> Node:
        first = self._take()
        if self._is("("):
            return self._call(first)
        segments, end = [first.text], first.offset + first.length
        while True:
            opened = self._now
            if self._accept("."):
                token = self._take()
                if token.kind is not TokenKind.WORD:
                    self._fail("expected a name after `.`", part_help(first, token), token=token)
                segments.append(token.text)
                end = token.offset + token.length
            elif self._accept("["):
                token = self._take()
                if token.kind is not TokenKind.TEXT or not isinstance(token.value, str):
                    self._fail(
                        "expected a name in quotes after `[`", index_help(segments, token), token=token
                    )
                segments.append(token.value)
                end = self._close("]", opened)
            else:
                break
        if self._is("("):
            self._fail("expected an operator", call_help(segments))
        return Path(first.offset, end - first.offset, Kind.ANY, tuple(segments))

    def _call(self, name: Token) -> Node:
        arguments, end = self._sequence(")")
        length = end - name.offset
        if name.text == "coalesce" and len(arguments) > 1:
            return Coalesce(name.offset, length, Kind.ANY, arguments)
        return Call(name.offset, length, Kind.ANY, name.text, arguments, name.length)

    def _items(self) -> Node:
        opened = self._now
        items, end = self._sequence("]")
        return Items(opened.offset, end - opened.offset, Kind.ANY, items)

    def _sequence(self, bracket: str) -> tuple[tuple[Node, ...], int]:
        opened = self._take()
        found: list[Node] = []
        if not self._is(bracket):
            found.append(self._inside(0))
            while self._accept(","):
                found.append(self._inside(0))
                if bracket == "]" and len(found) > MAX_LIST:
                    message = f"the list has more than {MAX_LIST:,} items"
                    last = found[-1]
                    raise FlawError(Flaw("E104", message, last.offset, last.length, "put it under `lists:`"))
        return tuple(found), self._close(bracket, opened)

    # Operators between operands.

    def logic(self, left: Node) -> Node:
        operator = self._now.text
        operands = [left]
        while self._is("and", "or"):
            token = self._take()
            if token.text != operator:
                message = "`and` and `or` are mixed without parentheses"
                written = self._text[left.offset : operands[-1].end]
                shown = written if len(written) <= 60 else "..."
                help_ = f"put one of them in parentheses: ({shown}) {token.text} ..."
                raise FlawError(Flaw("E113", message, token.offset, token.length, help_))
            operands.append(self._expression(_NOT))
        return Logic(*_around(operands), operator, tuple(operands))

    def comparison(self, left: Node) -> Node:
        if self._is(*_COMPARISONS):
            node = self._chain(left)
        elif self._is("is"):
            node = self._is_missing(left)
        else:
            node = self._within(left)
        if self._power() == _COMPARE:
            self._fail("expected `and`, `or` or the end", "put one of the comparisons in parentheses")
        return node

    def _chain(self, left: Node) -> Node:
        operators: list[str] = []
        operands = [left]
        while self._is(*_COMPARISONS):
            operators.append(self._take().text)
            operands.append(self._expression(_COALESCE))
        return Compare(*_around(operands), tuple(operators), tuple(operands))

    def _is_missing(self, left: Node) -> Node:
        self._take()
        negated = self._accept("not")
        token = self._now
        if not self._accept("missing"):
            help_ = "write `==` to compare"
            if token.text.lower() in OTHER_MISSING:
                help_ = "write `is not missing`" if negated else "write `is missing`"
            self._fail("expected `missing` after `is`", help_)
        return IsMissing(left.offset, token.offset + token.length - left.offset, Kind.ANY, left, negated)

    def _within(self, left: Node) -> Node:
        negated = self._accept("not")
        if not self._accept("in"):
            help_ = "write `is not missing`" if self._is("missing") else "write `and not`, or `not in`"
            self._fail("expected `in` after `not`", help_)
        if self._is("(") and [token.text for token in self._tokens[self._position + 2 :][:1]] == [","]:
            self._fail("expected a list after `in`", "a list stands in brackets: [1, 2, 3]")
        items = self._expression(_COALESCE)
        return Within(left.offset, items.end - left.offset, Kind.ANY, left, items, negated)

    def coalesce(self, left: Node) -> Node:
        operands = [left]
        while self._accept("??"):
            operands.append(self._expression(_SUM))
        return Coalesce(*_around(operands), tuple(operands))

    def sum(self, left: Node) -> Node:
        return self._arithmetic(left, ("+", "-"), _PRODUCT)

    def product(self, left: Node) -> Node:
        return self._arithmetic(left, ("*", "/"), _UNARY)

    def _arithmetic(self, left: Node, signs: tuple[str, str], tighter: int) -> Node:
        operators: list[str] = []
        operands = [left]
        while self._is(*signs):
            operators.append(self._take().text)
            operands.append(self._expression(tighter))
        return Arithmetic(*_around(operands), tuple(operators), tuple(operands))


def _negated(offset: int, operand: Node) -> Node:
    """Return `-operand`. A number with its sign is one literal, so that a large whole number stays exact."""
    length = operand.end - offset
    if isinstance(operand, Literal) and operand.written:
        shorter = operand.written.removeprefix("-")
        written = f"-{shorter}" if shorter == operand.written else shorter
        return Literal(offset, length, Kind.ANY, -operand.value, written)  # type: ignore[operator]
    return Negate(offset, length, Kind.ANY, operand)


def _around(operands: list[Node]) -> tuple[int, int, Kind]:
    first, last = operands[0], operands[-1]
    return first.offset, last.end - first.offset, Kind.ANY


_INFIX: Final[Mapping[int, Callable[[_Parser, Node], Node]]] = MappingProxyType(
    {
        _LOGIC: _Parser.logic,
        _COMPARE: _Parser.comparison,
        _COALESCE: _Parser.coalesce,
        _SUM: _Parser.sum,
        _PRODUCT: _Parser.product,
    }
)
