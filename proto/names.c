#include <string.h>

#include "wire.h"

mps_view mps_text(const char *text)
{
    return (mps_view){(const uint8_t *)text, text ? (uint32_t)strlen(text) : 0};
}

bool mps_view_equal(mps_view a, mps_view b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* clang-format off: it takes what follows a macro for a part of it */

const char *mps_op_name(unsigned op)
{
    switch (op) {
#define OP(number, NAME, way, fields) case number: return #NAME;
#include "ops.def"
#undef OP
    }
    return "unknown";
}

const char *mps_code_text(unsigned code)
{
    switch (code) {
#define CODE(number, NAME, text) case number: return text;
#include "codes.def"
    }
    return "unknown";
}

const char *mps_gap_reason_name(unsigned reason)
{
    switch (reason) {
#define GAP_REASON(number, NAME, text) case number: return text;
#include "codes.def"
    }
    return "unknown";
}

const char *mps_mark_name(unsigned kind)
{
    switch (kind) {
#define MARK_KIND(number, NAME, text) case number: return text;
#include "codes.def"
    }
    return "unknown";
}

const char *mps_policy_name(unsigned policy)
{
    switch (policy) {
#define POLICY(number, NAME, text) case number: return text;
#include "codes.def"
    }
    return "unknown";
}

const char *mps_ack_mode_name(unsigned mode)
{
    switch (mode) {
#define ACK_MODE(number, NAME, text) case number: return text;
#include "codes.def"
    }
    return "unknown";
}

const char *mps_from_name(unsigned kind)
{
    switch (kind) {
#define FROM(number, NAME, text) case number: return text;
#include "codes.def"
    }
    return "unknown";
}

const char *mps_scope_name(unsigned scope)
{
    switch (scope) {
#define SCOPE(number, NAME, text) case number: return text;
#include "codes.def"
    }
    return "unknown";
}
