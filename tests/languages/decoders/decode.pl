# Reads frames in hexadecimal, one a line, and prints what Perl's Data::MessagePack makes of each.
use strict;
use warnings;
no warnings "uninitialized"; # of keys that are nil, which perl warns of
use B;
use Data::MessagePack;

# A text as bytes; one that is long by its beginning and its length.
sub text {
    my ($text) = @_;
    utf8::encode($text) if utf8::is_utf8($text);
    return "s" . unpack("H*", length($text) > 64 ? substr($text, 0, 32) : $text) . (length($text) > 64 ? "~" . length($text) : "");
}

sub show {
    my ($value) = @_;
    return "nil" unless defined $value;
    my $kind = ref $value;
    return $$value ? "true" : "false" if $kind eq "Data::MessagePack::Boolean";
    return "[" . join(",", map { show($_) } @$value) . "]" if $kind eq "ARRAY";
    return "{" . join(",", sort map { text($_) . ":" . show($value->{$_}) } keys %$value) . "}" if $kind eq "HASH";
    my $flags = B::svref_2object(\$value)->FLAGS;
    return text($value) if $flags & B::SVf_POK;
    return $flags & B::SVf_NOK ? "f" . unpack("H*", pack("d>", $value)) : "$value";
}

my $packer = Data::MessagePack->new;
while (my $line = <STDIN>) {
    chomp $line;
    my $value = eval { $packer->unpack(pack("H*", $line)) };
    print $@ ? "error\n" : show($value) . "\n";
}
