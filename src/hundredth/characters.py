"""What is text and what is not."""


def is_unicode(text: str) -> bool:
    """Tell whether all of a text is characters: JSON can spell half of a surrogate pair, which is none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
