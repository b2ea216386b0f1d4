// NumPy's legacy random generator (numpy.random.seed and the functions of RandomState), whose streams NumPy keeps frozen:
// Mersenne Twister MT19937 (Matsumoto and Nishimura 1998) and the transformations of numpy's legacy-distributions.c, bit
// for bit.
namespace SLoRA.Bench.Traces;

internal sealed class LegacyRandom
{
    private const int Length = 624;
    private const int Middle = 397;

    private readonly uint[] _state = new uint[Length];
    private int _next = Length;
    private double _gauss;
    private bool _hasGauss;

    public LegacyRandom(uint seed)
    {
        _state[0] = seed;
        for (var i = 1; i < Length; i++)
        {
            _state[i] = 1812433253u * (_state[i - 1] ^ (_state[i - 1] >> 30)) + (uint)i;
        }
    }

    /// Uniform in [0, 2^32).
    public uint NextUInt32()
    {
        if (_next == Length)
        {
            Twist();
        }

        var value = _state[_next++];
        value ^= value >> 11;
        value ^= (value << 7) & 0x9d2c5680u;
        value ^= (value << 15) & 0xefc60000u;
        return value ^ (value >> 18);
    }

    /// Uniform in [0, 1), 53 bits.
    public double NextDouble()
    {
        var high = NextUInt32() >> 5;
        var low = NextUInt32() >> 6;
        return (high * 67108864.0 + low) / 9007199254740992.0;
    }

    /// Uniform in [low, high): masked rejection, as randint does.
    public int Integer(int low, int high)
    {
        var range = (uint)(high - 1 - low);
        if (range == 0)
        {
            return low;
        }

        var mask = uint.MaxValue >> System.Numerics.BitOperations.LeadingZeroCount(range);
        uint value;
        do
        {
            value = NextUInt32() & mask;
        }
        while (value > range);
        return low + (int)value;
    }

    public double Exponential() => -Math.Log(1.0 - NextDouble());

    /// In [0, 1) with density a x^(a-1).
    public double Power(double a) => Math.Pow(1 - Math.Exp(-Exponential()), 1.0 / a);

    public double Gamma(double shape, double scale) => scale * Gamma(shape);

    private double Gamma(double shape) => shape switch
    {
        1.0 => Exponential(),
        0.0 => 0.0,
        < 1.0 => GammaBelowOne(shape),
        _ => GammaAboveOne(shape),
    };

    private double GammaBelowOne(double shape)
    {
        while (true)
        {
            var u = NextDouble();
            var v = Exponential();
            if (u <= 1.0 - shape)
            {
                var x = Math.Pow(u, 1.0 / shape);
                if (x <= v)
                {
                    return x;
                }
            }
            else
            {
                var y = -Math.Log((1 - u) / shape);
                var x = Math.Pow(1.0 - shape + shape * y, 1.0 / shape);
                if (x <= v + y)
                {
                    return x;
                }
            }
        }
    }

    // Marsaglia and Tsang 2000.
    private double GammaAboveOne(double shape)
    {
        var b = shape - 1 / 3.0;
        var c = 1.0 / Math.Sqrt(9 * b);
        while (true)
        {
            double x, v;
            do
            {
                x = Gauss();
                v = 1.0 + c * x;
            }
            while (v <= 0.0);
            v = v * v * v;
            var u = NextDouble();
            if (u < 1.0 - 0.0331 * (x * x) * (x * x) || Math.Log(u) < 0.5 * x * x + b * (1.0 - v + Math.Log(v)))
            {
                return b * v;
            }
        }
    }

    /// Standard normal. The polar method gives two; the second is kept.
    public double Gauss()
    {
        if (_hasGauss)
        {
            _hasGauss = false;
            return _gauss;
        }

        double x1, x2, r2;
        do
        {
            x1 = 2.0 * NextDouble() - 1.0;
            x2 = 2.0 * NextDouble() - 1.0;
            r2 = x1 * x1 + x2 * x2;
        }
        while (r2 >= 1.0 || r2 == 0.0);
        var f = Math.Sqrt(-2.0 * Math.Log(r2) / r2);
        _gauss = f * x1;
        _hasGauss = true;
        return f * x2;
    }

    private void Twist()
    {
        for (var i = 0; i < Length; i++)
        {
            var y = (_state[i] & 0x80000000u) | (_state[(i + 1) % Length] & 0x7fffffffu);
            _state[i] = _state[(i + Middle) % Length] ^ (y >> 1) ^ ((y & 1) == 0 ? 0 : 0x9908b0dfu);
        }

        _next = 0;
    }
}
