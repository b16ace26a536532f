"""Whether sh can parse a command of one line (POSIX.1-2017 XCU 2.10, the grammar of the shell). Pure: nothing is run.

It refuses less than a shell does, never more: a command that is refused here is one that `sh -n` refuses too.
"""

import re
from collections.abc import Callable

_OPERATORS = ("<<-", "&&", "||", ";;", "<<", ">>", "<&", ">&", "<>", ">|", "&", "|", ";", "<", ">", "(", ")")
_REDIRECTIONS = {"<<-", "<<", ">>", "<&", ">&", "<>", ">|", "<", ">"}
_CLOSING = {"then", "elif", "else", "fi", "do", "done", "esac", "}"}
_IO_NUMBER = re.compile(r"[0-9]+(?=[<>])")  # 2>&1
_NOTHING = ""


class ShellSyntaxError(ValueError):
    """The message says what is missing or out of place."""


def explain_command(text: str) -> str | None:
    """Why no shell can parse it; None where it seems sound."""
    try:
        _Parser(text).whole()
    except ShellSyntaxError as error:
        return str(error)
    return None


class _Parser:
    """One pass over the text; `kind` is `word`, `operator` or nothing at the end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.kind = _NOTHING
        self.token = _NOTHING
        self.advance()

    def whole(self) -> None:
        self._list()
        if self.kind:
            raise ShellSyntaxError(f"{self.token!r} stands where a command should begin")

    def advance(self) -> None:
        """To the next token."""
        while self._at < len(self._text) and self._text[self._at] in " \t":
            self._at += 1
        if self._at >= len(self._text) or self._text[self._at] == "#":
            self._at = len(self._text)
            self.kind = self.token = _NOTHING
            return
        number = _IO_NUMBER.match(self._text, self._at)
        if number:
            self._at = number.end()
        operator = next((each for each in _OPERATORS if self._text.startswith(each, self._at)), "")
        if operator:
            self.kind, self.token = "operator", operator
            self._at += len(operator)
        else:
            start = self._at
            self._skip_word()
            self.kind, self.token = "word", self._text[start : self._at]

    def _is(self, *tokens: str) -> bool:
        return bool(self.kind) and self.token in tokens

    def _expect(self, token: str, after: str) -> None:
        if not self._is(token):
            raise ShellSyntaxError(f"{after!r} has no {token!r}")
        self.advance()

    # The grammar -------------------------------------------------------------------------------------------

    def _list(self) -> None:
        """Commands with `;` and `&` between; ends before what closes something, or at the end."""
        while self.kind and not self._ends_a_list():
            self._and_or()
            if self._is(";", "&"):
                self.advance()
            elif self.kind and not self._ends_a_list():
                raise ShellSyntaxError(f"{self.token!r} stands where a command should end")

    def _ends_a_list(self) -> bool:
        return self._is(")", ";;") or (self.kind == "word" and self.token in _CLOSING)

    def _and_or(self) -> None:
        self._pipeline()
        while self._is("&&", "||", "|"):
            operator = self.token
            self.advance()
            if not self.kind or self._ends_a_list():
                raise ShellSyntaxError(f"nothing follows {operator!r}")
            self._pipeline()

    def _pipeline(self) -> None:
        while self._is("!"):
            self.advance()
        self._command()

    def _some(self, after: str) -> None:
        before = self._at
        self._list()
        if self._at == before:
            raise ShellSyntaxError(f"{after!r} has no command")

    def _command(self) -> None:
        compound: dict[str, Callable[[], None]] = {
            "if": self._if,
            "while": self._loop,
            "until": self._loop,
            "for": self._for,
            "case": self._case,
            "{": lambda: self._group("}"),
            "(": lambda: self._group(")"),
        }
        if self._is(*compound):
            compound[self.token]()
            while self._is(*_REDIRECTIONS):
                self._redirection()
            return
        self._simple()

    def _group(self, closing: str) -> None:
        opening = self.token
        self.advance()
        self._some(opening)
        self._expect(closing, opening)

    def _if(self) -> None:
        self.advance()
        self._some("if")
        self._expect("then", "if")
        self._some("then")
        while self._is("elif"):
            self.advance()
            self._some("elif")
            self._expect("then", "elif")
            self._some("then")
        if self._is("else"):
            self.advance()
            self._some("else")
        self._expect("fi", "if")

    def _loop(self) -> None:
        name = self.token
        self.advance()
        self._some(name)
        self._do(name)

    def _do(self, name: str) -> None:
        self._expect("do", name)
        self._some("do")
        self._expect("done", name)

    def _for(self) -> None:
        self.advance()
        if self.kind != "word":
            raise ShellSyntaxError("'for' has no name")
        self.advance()
        if self._is("in"):
            self.advance()
            while self.kind == "word":
                self.advance()
            self._expect(";", "for")
        elif self._is(";"):
            self.advance()
        self._do("for")

    def _case(self) -> None:
        self.advance()
        if self.kind != "word":
            raise ShellSyntaxError("'case' has no word")
        self.advance()
        self._expect("in", "case")
        while not self._is("esac"):
            if self._is("("):
                self.advance()
            while self.kind == "word":
                self.advance()
                if not self._is("|"):
                    break
                self.advance()
            self._expect(")", "case")
            self._list()
            if not self._is(";;"):
                break
            self.advance()
        self._expect("esac", "case")

    def _simple(self) -> None:
        if self.kind != "word" and not self._is(*_REDIRECTIONS):
            raise ShellSyntaxError(f"{self.token!r} stands where a command should begin")
        words = 0
        while self.kind == "word" or self._is(*_REDIRECTIONS):
            if self.kind == "word":
                words += 1
                self.advance()
            else:
                self._redirection()
        if words == 1 and self._is("("):  # a function
            self.advance()
            self._expect(")", "(")
            self._command()
        elif self._is("("):
            raise ShellSyntaxError("'(' stands where a word should")

    def _redirection(self) -> None:
        operator = self.token
        self.advance()
        if self._is("(") and operator in {"<", ">"}:
            self._group(")")  # bash's process substitution
        elif self.kind != "word":
            raise ShellSyntaxError(f"{operator!r} names no file")
        else:
            self.advance()

    # Words -------------------------------------------------------------------------------------------------

    def _skip_word(self) -> None:
        while self._at < len(self._text):
            sign = self._text[self._at]
            if sign in " \t" or any(
                self._text.startswith(each, self._at) for each in ("&", "|", ";", "<", ">", "(", ")")
            ):
                return
            self._skip_part(sign)

    def _skip_part(self, sign: str) -> None:
        if sign == "\\":
            self._at += 2
        elif sign == "'":
            self._skip_to("'")
        elif sign == '"':
            self._skip_quoted('"')
        elif sign == "`":
            self._skip_backquoted()
        elif sign == "$":
            self._skip_expansion()
        else:
            self._at += 1

    def _skip_to(self, closing: str) -> None:
        end = self._text.find(closing, self._at + 1)
        if end < 0:
            raise ShellSyntaxError(f"{closing} is not closed")
        self._at = end + 1

    def _skip_quoted(self, closing: str) -> None:
        """Double quotes, or the inside of `${…}`."""
        self._at += 1
        while self._at < len(self._text):
            sign = self._text[self._at]
            if sign == closing:
                self._at += 1
                return
            if sign == "'" and closing == '"':
                self._at += 1
            else:
                self._skip_part(sign)
        raise ShellSyntaxError(f"{closing} is missing")

    def _skip_backquoted(self) -> None:
        self._at += 1
        while self._at < len(self._text) and self._text[self._at] != "`":
            self._at += 2 if self._text[self._at] == "\\" else 1
        if self._at >= len(self._text):
            raise ShellSyntaxError("` is not closed")
        self._at += 1

    def _skip_expansion(self) -> None:
        if self._text.startswith("${", self._at):
            self._at += 1
            self._skip_quoted("}")
        elif self._text.startswith("$((", self._at):
            end = self._text.find("))", self._at)
            if end < 0:
                raise ShellSyntaxError("'$((' is not closed")
            self._at = end + 2
            while self._at < len(self._text) and self._text[self._at] == ")":
                self._at += 1
        elif self._text.startswith("$(", self._at):
            inner = _Parser.__new__(_Parser)
            inner._text, inner._at = self._text, self._at + 2
            inner.advance()
            inner._list()
            if not inner._is(")"):
                raise ShellSyntaxError("'$(' is not closed")
            self._at = inner._at
        else:
            self._at += 1
