// Each rule of the ABI sheet is broken once, and the lint must say so.

using SLoRA.BindingsGenerator;
using SLoRA.BindingsGenerator.Clang;

namespace SLoRA.Interop.Tests;

public sealed class HeaderLintTests
{
    private const string Good = """
        #include <stdint.h>
        enum slora_status { SLORA_OK = 0, SLORA_ERROR_IO = -1 };
        typedef struct slora_error { uint32_t struct_size; int32_t status; } slora_error;
        #define SLORA_ERROR_INIT {(uint32_t)sizeof(slora_error), 0}
        typedef struct slora_thing slora_thing;
        /* Does it.
         * @thread any @blocks
         * @return SLORA_OK; SLORA_ERROR_IO. */
        int32_t slora_thing_do(slora_thing* thing, slora_error* error);

        """;

    [Fact]
    public void A_good_header_has_no_findings() => Assert.Empty(Findings(Good));

    [Theory]
    [InlineData("/* A. */ void slora_a(void);", "needs exactly one @thread")]
    [InlineData("/* A. @thread any */ void slora_a(void);", "needs exactly one @thread")] // tags begin a line
    [InlineData("/* A.\n * @thread sometimes */ void slora_a(void);", "has [sometimes]")]
    [InlineData("/* A.\n * @thread any\n * @thread engine */ void slora_a(void);", "has [any, engine]")]
    [InlineData("/* A.\n * @thread any @sleeps */ void slora_a(void);", "unknown tag @sleeps")]
    [InlineData("/* @thread any */ void slora_a(void);", "no sentence")]
    [InlineData("/* A.\n * @thread any */ void a(void);", "must begin with slora_")]
    [InlineData("/* A.\n * @thread any */ int32_t slora_a(slora_error* error);", "@return must name its statuses")]
    [InlineData("/* A.\n * @thread any\n * @return SLORA_OK */ slora_thing* slora_a(void);", "last parameter must be slora_error*")]
    [InlineData("/* A.\n * @thread any\n * @return SLORA_ERROR_OI. */ int32_t slora_a(slora_error* error);", "SLORA_ERROR_OI, which does not exist")]
    [InlineData("/* A.\n * @thread any */ void slora_a(slora_thing** out_thing);", "out_thing: T**")]
    [InlineData("/* A.\n * @thread any */ void slora_a(unsigned long n);", "n: 'unsigned long' is not of fixed width")]
    [InlineData("/* A.\n * @thread any */ void slora_a(slora_error error);", "structs cross by pointer")]
    [InlineData("#include <stddef.h>\n/* A.\n * @thread any */ void slora_a(size_t n);", "n: 'size_t' is not of fixed width")]
    [InlineData("typedef struct slora_s { _Bool b; } slora_s;", "b: '_Bool' is not of fixed width")]
    [InlineData("typedef struct slora_s { uint32_t a : 3; } slora_s;", "a: bit field")]
    [InlineData("typedef struct slora_s { union { uint32_t a; float b; } u; } slora_s;", "holds a union")]
    [InlineData("union slora_u { uint32_t a; float b; };", "a union")]
    [InlineData("typedef struct slora_s { uint32_t a; uint64_t b; } slora_s;", "b: 4 bytes of hidden padding before it")]
    [InlineData("typedef struct slora_s { uint64_t a; uint32_t b; } slora_s;", "4 bytes of hidden padding at its end")]
    [InlineData("typedef struct slora_s { uint32_t struct_size; } slora_s;", "it needs SLORA_S_INIT")]
    [InlineData("typedef struct slora_s { uint32_t a; } slora_s;\n#define SLORA_S_INIT {0}", "struct_size must come first")]
    [InlineData("#include <limits.h>", "only stdint.h and stddef.h")]
    public void A_broken_rule_is_found(string declaration, string finding) =>
        Assert.Contains(Findings(Good + declaration + "\n"), f => f.Contains(finding, StringComparison.Ordinal));

    private static IReadOnlyList<string> Findings(string header)
    {
        using TemporaryFolder folder = new();
        return HeaderLint.Run(HeaderReader.Read(folder.Write("slora.h", header)));
    }
}
