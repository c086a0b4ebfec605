"""What kind of text it is, as far as its form tells: prose, poetry, code, or a note of some words."""

import re
from typing import Literal

from tuti.systems.spark.measures import Measures

Genre = Literal["prose", "poetry", "code", "note"]
NOTE = 50
"""Words below which the rules for pages cannot be asked of a text"""
_CODE = re.compile(
    r"^\s*(?:@\w|#\s*(?:include|define|if|endif|pragma)|//|/\*|\*/|import\s|from\s\S+\s+import|def\s|class\s|return\b"
    r"|(?:public|private|static|const|let|var|function|export|async|template|using|namespace|struct)\b"
    r"|(?:if|for|while|elif|else|try|except|with|switch)\b.*[:{(]\s*$)"
    r"|[;{}]\s*$|^\s*[)\]}]+[,;]?\s*$|\w\([^)]{0,500}\)\s*[:;,]?\s*$|\w\s(?:=|==|\+=|->|=>|:=)\s\S|\w(?:\.|::|->)\w+\("
)


def genre_of(measures: Measures) -> Genre:
    """The genre of a text. Plays, and prose that is wrapped at some 70 columns, count as poetry.

    What these share is that a line's end means nothing, so that rules about lines do not hold for them.
    """
    lines = measures.lines
    code = sum(1 for line in lines if _CODE.search(line))
    if len(lines) >= 3 and code >= 0.4 * len(lines):
        return "code"
    if len(measures.words) < NOTE:
        return "note"
    lengths = sorted(len(line) for line in lines)
    if len(lines) >= 4 and lengths[int(0.95 * (len(lengths) - 1))] <= 90 and lengths[len(lengths) // 2] >= 15:
        return "poetry"
    return "prose"
