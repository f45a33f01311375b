<?php
// Reads frames in hexadecimal, one a line, and prints what PHP's msgpack makes of each.
ini_set('msgpack.error_display', '0');
ini_set('memory_limit', '512M');

// What is long is shown by its beginning and its length.
function brief(string $text): string
{
    return strlen($text) > 64 ? bin2hex(substr($text, 0, 32)) . '~' . strlen($text) : bin2hex($text);
}

function show($value): string
{
    if ($value === null) return 'nil';
    if (is_bool($value)) return $value ? 'true' : 'false';
    if (is_int($value)) return (string)$value;
    if (is_float($value)) return 'f' . bin2hex(pack('E', $value));
    if (is_string($value)) return 's' . brief($value);
    if (!is_array($value)) return 'unknown ' . get_debug_type($value);
    if (array_is_list($value)) return '[' . implode(',', array_map('show', $value)) . ']';
    $parts = [];
    foreach ($value as $key => $each) $parts[] = 's' . brief((string)$key) . ':' . show($each);
    sort($parts, SORT_STRING);
    return '{' . implode(',', $parts) . '}';
}

while (($line = fgets(STDIN)) !== false) {
    $unpacker = new MessagePackUnpacker(false);
    $unpacker->feed(hex2bin(rtrim($line)));
    try {
        echo $unpacker->execute() ? show($unpacker->data()) : 'error', "\n";
    } catch (Throwable $error) {
        echo "error\n";
    }
}
