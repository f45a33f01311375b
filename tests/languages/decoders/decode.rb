# Reads frames in hexadecimal, one a line, and prints what ruby-msgpack makes of each.
require "msgpack"

def hex(text) = text.unpack1("H*")

# What is long is shown by its beginning and its length.
def brief(text) = text.bytesize > 64 ? hex(text.byteslice(0, 32)) + "~#{text.bytesize}" : hex(text)

def show(value)
  case value
  when nil then "nil"
  when true, false, Integer then value.to_s
  when Float then "f" + hex([value].pack("G"))
  when String then (value.encoding == Encoding::BINARY ? "b" : "s") + brief(value)
  when Array then "[" + value.map { |each| show(each) }.join(",") + "]"
  when Hash then "{" + value.map { |key, each| show(key) + ":" + show(each) }.sort.join(",") + "}"
  when MessagePack::ExtensionValue then "x#{value.type}:" + brief(value.payload)
  end
end

STDIN.each_line do |line|
  begin
    puts show(MessagePack.unpack([line.chomp].pack("H*"), allow_unknown_ext: true))
  rescue MessagePack::UnpackError, EOFError, ArgumentError
    puts "error"
  end
end
