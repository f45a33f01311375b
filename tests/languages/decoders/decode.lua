-- Reads frames in hexadecimal, one a line, and prints what lua-messagepack makes of each.
local mp = require "MessagePack"

local function hex(text)
    return (text:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

-- What is long is shown by its beginning and its length.
local function brief(text)
    return #text > 64 and hex(text:sub(1, 32)) .. "~" .. #text or hex(text)
end

local bytes_of = {}
for byte = 0, 255 do bytes_of[("%02x"):format(byte)] = string.char(byte) end

mp.build_ext = function(tag, data) return setmetatable({tag = tag, data = data}, {__name = "ext"}) end

local show

-- A table does not say whether it was an array.
local function show_table(value)
    local parts = {}
    for key, each in pairs(value) do parts[#parts + 1] = show(key) .. ":" .. show(each) end
    table.sort(parts)
    return "{" .. table.concat(parts, ",") .. "}"
end

function show(value)
    local kind = math.type(value) or type(value)
    if kind == "nil" or kind == "boolean" then return tostring(value) end
    if kind == "integer" then return ("%d"):format(value) end
    if kind == "float" then return "f" .. hex((">d"):pack(value)) end
    if kind == "string" then return "s" .. brief(value) end
    local meta = getmetatable(value)
    if meta and meta.__name == "ext" then return "x" .. value.tag .. ":" .. brief(value.data) end
    return show_table(value)
end

for line in io.lines() do
    local good, value = pcall(mp.unpack, (line:gsub("..", bytes_of)))
    print(good and show(value) or "error")
end
