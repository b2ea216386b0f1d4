// The real library is part of what these tests prove, so they fail, and say why, where it has not been built.

using SLoRA.Interop.Native;

namespace SLoRA.Interop.Tests;

internal static class NativeTestLibrary
{
    public static void Require()
    {
        try
        {
            NativeLibraryLoader.Load();
        }
        catch (NativeLibraryException e)
        {
            Assert.Fail($"This test needs the native library: run ./build.sh build first, or set SLORA_NATIVE_LIBRARY.\n{e.Message}");
        }
    }

    public static NativeModel LoadModel()
    {
        Require();
        return NativeModel.Load(ModelOptions, progress: null, TestContext.Current.CancellationToken);
    }

    public static NativeModelLoadOptions ModelOptions => new()
    {
        Path = RepositoryPaths.TinyModel,
        Backend = NativeBackend.Host,
        ComputeDtype = NativeDtype.F32,
        NumThreads = 1,
        Synthetic = true,
        SyntheticSeed = 1,
    };

    public static NativeAdapter LoadAdapter(NativeEngine engine, NativeAdapterLoadOptions options) =>
        NativeAdapter.Load(engine, options, progress: null, TestContext.Current.CancellationToken);

    public static NativeEngine CreateEngine(NativeModel model)
    {
        NativeEngineOptions options = NativeEngineOptions.Create();
        options.PoolBytes = 8 << 20;
        options.MaxSequences = 8;
        options.MaxBatchTokens = 64;
        options.CheckEveryStep = 1;
        return NativeEngine.Create(model, options);
    }
}
