/* SPDX-License-Identifier: MIT */
/*
 * utf8.h - names may be any bytes, JSON and terminals want UTF-8 (RFC 3629).
 */
#ifndef ARSYNC_UTF8_H
#define ARSYNC_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

static inline bool utf8_is_continuation(unsigned char byte)
{
	return (byte & 0xc0) == 0x80;
}

/**
 * The length of the character that @text begins with: 1 to 4, 0 where it is none: a stray byte, an
 * overlong form, a surrogate, beyond U+10FFFF. @text ends with a NUL, which is no character.
 */
static inline size_t utf8_length(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	unsigned char low = 0x80, high = 0xbf; /* of the second byte */
	size_t length;

	if (at[0] < 0x80)
		return at[0] != 0;
	if (at[0] >= 0xc2 && at[0] <= 0xdf)
		length = 2;
	else if (at[0] >= 0xe0 && at[0] <= 0xef)
		length = 3;
	else if (at[0] >= 0xf0 && at[0] <= 0xf4)
		length = 4;
	else
		return 0;
	if (at[0] == 0xe0)
		low = 0xa0;
	else if (at[0] == 0xed)
		high = 0x9f;
	else if (at[0] == 0xf0)
		low = 0x90;
	else if (at[0] == 0xf4)
		high = 0x8f;
	if (at[1] < low || at[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if (!utf8_is_continuation(at[i]))
			return 0;
	return length;
}

static inline bool utf8_is_valid(const char *text)
{
	size_t length;

	while (*text) {
		length = utf8_length(text);
		if (length == 0)
			return false;
		text += length;
	}
	return true;
}

#endif /* ARSYNC_UTF8_H */
