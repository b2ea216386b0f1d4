// The demo model's mixed batch: every adapter at once, greedy, token by token as the goldens say.
using System.Text.Json;
using SLoRA.Engine.Tests.Fakes;

namespace SLoRA.Integration.Tests;

internal static class DemoGoldens
{
    public static async Task AssertAnsweredAsync(TestHost host)
    {
        var goldens = JsonDocument.Parse(File.ReadAllText(Path.Combine(TestEngine.RepositoryRoot, "assets", "demo-model", "goldens", "mixed_batch.json"))).RootElement;
        var requests = goldens.ValueKind == JsonValueKind.Array ? goldens : goldens.GetProperty("requests");
        await Task.WhenAll(requests.EnumerateArray().Select(async request =>
        {
            var adapter = request.GetProperty("adapter").GetString() ?? "base";
            var expected = request.GetProperty("greedy_ids").EnumerateArray().Select(id => id.GetInt32()).ToArray();
            var (status, body) = await host.PostAsync(
                "/v1/completions",
                $$"""{"model":"{{adapter}}","prompt":{{request.GetProperty("ids").GetRawText()}},"max_tokens":{{expected.Length}},"temperature":0,"ignore_eos":true,"return_token_ids":true}""");
            Assert.Equal(200, status);
            Assert.Equal(expected, body.GetProperty("choices")[0].GetProperty("token_ids").EnumerateArray().Select(id => id.GetInt32()));
        }));
    }
}
