/* A msgpack document as compact JSON, written while it is walked in place.
 *
 * Integers keep all 64 bits. A float is written so that it reads back as the same; NaN is null, the infinities are
 * 1e999 and -1e999. bin is {"$bin":"base64"}, ext {"$ext":[type,"base64"]}, a str that isn't UTF-8 {"$str":"base64"}.
 * Keys of a map are strings: numbers, booleans and nil as they would be written as values, other keys
 * "$bin:base64", "$str:base64", "$ext:type:base64", and an array or map "$msgpack:base64" with its bytes. */
#ifndef CLI_JSON_OUT_H
#define CLI_JSON_OUT_H

#include "output.h"
#include "value.h"

/* checked has been accepted by mps_document_check(). */
void json_out_document(struct output *out, mps_view checked);
void json_out_bytes(struct output *out, mps_view bytes); /* {"$bin":"base64"} */
void json_out_text(struct output *out, mps_view text);   /* a string, or {"$str":"base64"} if it isn't UTF-8 */

#endif
